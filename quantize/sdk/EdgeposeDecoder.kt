// Copyright 2026 the edgepose authors. Licence: Apache-2.0.
//
// Not compiled by the tests of edgepose, unlike the decoders in Python, JavaScript, C, Java and C#. It is a port of
// EdgeposeDecoder.java; compare it with the golden vectors of your bundle before you rely on it.

package edgepose

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.atan2
import kotlin.math.cos
import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.hypot
import kotlin.math.ln
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round
import kotlin.math.sin
import kotlin.math.sqrt

/** The crop beyond the image: black, or its border pixels continued. */
enum class Border { BLACK, REPLICATE }

/** Output representation of the network, `postprocessing.head` of the manifest. */
enum class Head { VOLUMETRIC, HEATMAP_25D, SIMCC }

/** Order of the axes of a tensor; ignored for the raw output of simcc. */
enum class Layout { NHWC, NCHW }

/** A square region of an image: centre in px, side in px, clockwise angle in rad. */
data class Region(val x: Double, val y: Double, val side: Double, val rotation: Double = 0.0) {
    /** Returns an estimate of the distance of the root joint in mm: the region is assumed to be 2 m wide. */
    fun rootDepth(focal: Double): Double = 2000 * focal / side
}

/** A joint; the meaning of the coordinates depends on the function that returned it. */
data class Joint(val x: Double, val y: Double, val z: Double, val confidence: Double)

/** `postprocessing.scale` of the manifest: the size of a person's region by the pose. */
data class Scale(
    val edges: List<Pair<Int, Int>>,
    val flat: List<Double>,
    val deep: List<Double>,
    val size: Double,
    val offset: Double,
    val low: Double,
    val high: Double,
)

/** `postprocessing` of the manifest, the length of `skeleton.joints`, and `outputs[0].layout`. */
data class Model(
    val head: Head,
    val layout: Layout,
    val joints: Int,
    val heatmap: Int,
    val depthBins: Int,
    val depthScale: Double = 1.0,
    val depthRangeMm: Double = 2000.0,
)

/**
 * Pre- and postprocessing of edgepose models, in Kotlin without dependencies.
 *
 * The functions follow docs/decoder.md of edgepose, as the decoders in other languages do. The settings come from the
 * manifest.json of a bundle.
 *
 * ```
 * bitmap.getPixels(argb, 0, width, 0, 0, width, height)
 * val region = EdgeposeDecoder.regionOfBox(x, y, w, h, width, height, padding = 1.25) ?: return
 * val rgb = EdgeposeDecoder.sampleRegion(argb, width, height, region, size)
 * // run the model on EdgeposeDecoder.normalise(rgb, mean, std, Layout.NHWC)
 * val px = EdgeposeDecoder.toPhoto(EdgeposeDecoder.decode(raw, model), region, model.depthRangeMm)
 * val mm = EdgeposeDecoder.toCamera(px, region.rootDepth(focal), focal, width / 2.0, height / 2.0)
 * ```
 */
object EdgeposeDecoder {
    private const val LEAST_CONFIDENCE = 1e-6 // added to confidences before the logarithm
    private const val DEPTH_UNIT_MM = 500.0 // of depth differences in the regression of the scale
    private const val SIMCC_SPLIT = 2 // bins per heatmap cell along x and y

    /** Returns the upright square around a person's box in px, clipped to the image; null if less than 1 px is inside. */
    fun regionOfBox(x: Double, y: Double, w: Double, h: Double, width: Int, height: Int, padding: Double): Region? {
        val left = max(x, 0.0)
        val top = max(y, 0.0)
        val inW = min(x + w, width.toDouble()) - left
        val inH = min(y + h, height.toDouble()) - top
        if (!(inW >= 1 && inH >= 1)) return null
        return Region(left + inW / 2, top + inH / 2, max(inW, inH) * padding)
    }

    /**
     * Returns the region for the next frame of a video, by the joints (px) of a person in this one.
     *
     * [hips], [shoulders], [reach] and [scale] are `preprocessing.roi` of the manifest.
     */
    fun regionOfJoints(joints: List<Joint>, hips: IntArray, shoulders: IntArray, reach: Double, scale: Double): Region {
        val x = hips.map { joints[it].x }.average()
        val y = hips.map { joints[it].y }.average()
        val upX = shoulders.map { joints[it].x }.average()
        val upY = shoulders.map { joints[it].y }.average()
        val largest = joints.maxOf { (it.x - x) * (it.x - x) + (it.y - y) * (it.y - y) }
        return Region(x, y, scale * reach * sqrt(largest), atan2(upX - x, y - upY))
    }

    /**
     * Returns the region of a detection by MediaPipe's pose detector: centre of the hips, and the point above it on the circle
     * around the person, px.
     */
    fun regionOfCircle(hipsX: Double, hipsY: Double, rimX: Double, rimY: Double, scale: Double = 2.5): Region {
        val x = rimX - hipsX
        val y = rimY - hipsY
        return Region(hipsX, hipsY, scale * sqrt(x * x + y * y), atan2(x, -y))
    }

    /**
     * Scales a region of an image to size x size px by area averaging. Integers make the result equal in all languages.
     *
     * @param argb pixels, rows first, as `Bitmap.getPixels` returns them
     * @return RGB values, rows first (size * size * 3); a byte holds 0 to 255 without sign
     */
    fun sampleRegion(
        argb: IntArray, width: Int, height: Int, region: Region, size: Int, border: Border = Border.BLACK,
    ): ByteArray {
        val step = region.side / size
        val half = region.side / 2
        val cosine = cos(region.rotation)
        val sine = sin(region.rotation)
        val fine = samplesPerPx(width, height, step)
        val whole = 65536 * fine * fine
        val rgb = ByteArray(3 * size * size)
        val sums = IntArray(3) // at most 255 * 65536 * 64, below 2^31
        for (cell in 0 until size * size) {
            val row = cell / size
            val column = cell % size
            sums.fill(0)
            for (atRow in row * fine until (row + 1) * fine) {
                for (atColumn in column * fine until (column + 1) * fine) {
                    val u = (atColumn + 0.5) * (step / fine) - half
                    val v = (atRow + 0.5) * (step / fine) - half
                    val x = fixed(region.x + cosine * u - sine * v, width)
                    val y = fixed(region.y + sine * u + cosine * v, height)
                    addSample(argb, width, height, x, y, border, sums)
                }
            }
            for (channel in 0 until 3) rgb[3 * cell + channel] = ((sums[channel] + whole / 2) / whole).toByte()
        }
        return rgb
    }

    /** Adds a sample at a place in 1/256 px, weighted with 65536, to the sums of R, G and B. */
    private fun addSample(argb: IntArray, width: Int, height: Int, atX: Int, atY: Int, border: Border, sums: IntArray) {
        val shareX = atX and 255
        val shareY = atY and 255
        for (tap in 0 until 4) {
            var px = (atX shr 8) + (tap and 1)
            var py = (atY shr 8) + (tap shr 1)
            val weight = (if (tap and 1 == 1) shareX else 256 - shareX) * (if (tap shr 1 == 1) shareY else 256 - shareY)
            if (px < 0 || px >= width || py < 0 || py >= height) {
                if (border == Border.BLACK) continue
                px = px.coerceIn(0, width - 1)
                py = py.coerceIn(0, height - 1)
            }
            val pixel = argb[py * width + px]
            sums[0] += weight * ((pixel shr 16) and 255)
            sums[1] += weight * ((pixel shr 8) and 255)
            sums[2] += weight * (pixel and 255)
        }
    }

    /** Returns how many samples a px of the crop averages along an axis; small images are sharper and get finer samples. */
    private fun samplesPerPx(width: Int, height: Int, shrink: Double): Int {
        val fine = if (min(width, height) > 256) floor(shrink * 1.1) else round(shrink) // round: half to even
        return fine.coerceIn(1.0, 8.0).toInt()
    }

    /** Returns a place in 1/256 px from the centre of pixel 0; places far outside of count px are moved nearer. */
    private fun fixed(at: Double, count: Int): Int = floor((at.coerceIn(-2.0, count + 2.0) - 0.5) * 256 + 0.5).toInt()

    /**
     * Returns a crop as the model's float32 input, (value / 255 - mean) / std. A model with uint8 input receives the crop.
     *
     * [mean] and [std] are `preprocessing` of the manifest.
     */
    fun normalise(rgb: ByteArray, mean: DoubleArray, std: DoubleArray, layout: Layout): FloatArray {
        val area = rgb.size / 3
        val input = FloatArray(rgb.size)
        for (at in rgb.indices) {
            val channel = at % 3
            val value = ((rgb[at].toInt() and 255) / 255.0 - mean[channel]) / std[channel]
            input[if (layout == Layout.NHWC) at else channel * area + at / 3] = value.toFloat()
        }
        return input
    }

    /** Decodes the raw output of a model: x and y as fractions of the crop, z as a fraction of the depth range. */
    fun decode(raw: FloatArray, model: Model): List<Joint> = List(model.joints) { joint ->
        if (model.head == Head.SIMCC) decodeSimcc(raw, model, joint) else decodeMaps(raw, model, joint)
    }

    private fun decodeMaps(raw: FloatArray, model: Model, joint: Int): Joint {
        val volumetric = model.head == Head.VOLUMETRIC
        val cells = model.heatmap
        val area = cells * cells
        val bins = if (volumetric) model.depthBins else 1
        val channels = model.joints * (if (volumetric) bins else 2)
        val last = model.layout == Layout.NHWC
        fun value(channel: Int, cell: Int) = raw[if (last) cell * channels + channel else channel * area + cell].toDouble()

        var highest = Double.NEGATIVE_INFINITY
        for (bin in 0 until bins) for (cell in 0 until area) highest = max(highest, value(joint * bins + bin, cell))
        var sum = 0.0
        var x = 0.0
        var y = 0.0
        var z = 0.0
        var peak = 0.0
        for (cell in 0 until area) {
            var column = 0.0
            for (bin in 0 until bins) {
                val weight = exp(value(joint * bins + bin, cell) - highest)
                column += weight
                z += weight * (if (volumetric) centre(bin, bins) else value(model.joints + joint, cell))
            }
            sum += column
            x += column * centre(cell % cells, cells)
            y += column * centre(cell / cells, cells)
            peak = max(peak, column)
        }
        val depth = if (volumetric) z / sum else z / sum / model.depthScale + 0.5
        return Joint(x / sum, y / sum, depth, peak / sum)
    }

    private fun decodeSimcc(raw: FloatArray, model: Model, joint: Int): Joint {
        val fine = SIMCC_SPLIT * model.heatmap
        val start = joint * (2 * fine + model.depthBins)
        val (x, peakX) = softArgmax(raw, start, fine)
        val (y, peakY) = softArgmax(raw, start + fine, fine)
        val (z, _) = softArgmax(raw, start + 2 * fine, model.depthBins)
        return Joint(x, y, z, peakX * peakY)
    }

    /** Returns the soft-argmax of count scores as a fraction, and the largest probability. */
    private fun softArgmax(raw: FloatArray, start: Int, count: Int): Pair<Double, Double> {
        var highest = Double.NEGATIVE_INFINITY
        for (index in 0 until count) highest = max(highest, raw[start + index].toDouble())
        var sum = 0.0
        var mean = 0.0
        for (index in 0 until count) {
            val weight = exp(raw[start + index] - highest)
            sum += weight
            mean += weight * centre(index, count)
        }
        return Pair(mean / sum, 1 / sum)
    }

    private fun centre(cell: Int, cells: Int): Double = (cell + 0.5) / cells

    /** Returns the probability that the crop shows a person. scale, offset: `confidence.presence` of the manifest */
    fun presence(joints: List<Joint>, scale: Double, offset: Double): Double =
        sigmoid(scale * joints.sumOf { ln(it.confidence + LEAST_CONFIDENCE) } / joints.size + offset)

    /**
     * Returns the probability of each joint that it is in the image and not covered.
     *
     * @param lines scale and offset of each joint, `confidence.visibility` of the manifest
     */
    fun visibility(joints: List<Joint>, lines: List<Pair<Double, Double>>): List<Double> =
        joints.zip(lines) { joint, (scale, offset) -> sigmoid(scale * ln(joint.confidence + LEAST_CONFIDENCE) + offset) }

    private fun sigmoid(logit: Double): Double = 1 / (1 + exp(-logit))

    /** Returns the size of the region's side at the distance of the root joint in mm, by decoded joints. */
    fun mmPerSide(joints: List<Joint>, scale: Scale, depthRangeMm: Double): Double {
        val x = joints.sumOf { it.x } / joints.size
        val y = joints.sumOf { it.y } / joints.size
        val extent = sqrt(joints.sumOf { (it.x - x) * (it.x - x) + (it.y - y) * (it.y - y) } / joints.size)
        var logMm = scale.offset + scale.size * ln(extent)
        scale.edges.forEachIndexed { edge, (start, end) ->
            val (first, second) = Pair(joints[start], joints[end])
            logMm += scale.flat[edge] * hypot(first.x - second.x, first.y - second.y) / extent
            logMm += scale.deep[edge] * abs(first.z - second.z) * depthRangeMm / DEPTH_UNIT_MM
        }
        return exp(logMm.coerceIn(scale.low, scale.high))
    }

    /** Converts decoded joints to px and px of the image, and mm behind the root joint. */
    fun toPhoto(joints: List<Joint>, region: Region, depthRangeMm: Double): List<Joint> {
        val cosine = cos(region.rotation)
        val sine = sin(region.rotation)
        return joints.map {
            val u = (it.x - 0.5) * region.side
            val v = (it.y - 0.5) * region.side
            Joint(
                region.x + cosine * u - sine * v, region.y + sine * u + cosine * v, (it.z - 0.5) * depthRangeMm,
                it.confidence,
            )
        }
    }

    /**
     * Converts joints in px, px and mm to camera coordinates in mm: x right, y down, z forward.
     *
     * @param rootDepthMm distance of the root joint along z
     * @param focal focal length, px; the longer side of the image if unknown
     * @param centreX principal point, px; the centre of the image if unknown
     */
    fun toCamera(joints: List<Joint>, rootDepthMm: Double, focal: Double, centreX: Double, centreY: Double): List<Joint> =
        joints.map {
            val z = it.z + rootDepthMm
            Joint((it.x - centreX) / focal * z, (it.y - centreY) / focal * z, z, it.confidence)
        }
}

/**
 * One-Euro filter (Casiez, Roussel and Vogel 2012) of the joints of one person: less jitter at rest, little lag in motion.
 * A joint passes a low-pass filter whose cutoff frequency grows with its speed.
 *
 * @param minCutoff cutoff frequency at rest, Hz
 * @param beta growth of the cutoff frequency, Hz for a speed of one scale per second
 * @param speedCutoff cutoff frequency of the speed, Hz
 */
class OneEuro(
    private val minCutoff: Double = 0.5, private val beta: Double = 10.0, private val speedCutoff: Double = 1.0,
) {
    private var timeS = Double.NaN
    private var points = emptyList<Joint>()
    private var velocity = emptyList<Joint>()

    /**
     * Returns smoothed joints. The first ones, and those of a time that does not increase, stay as they are.
     *
     * @param time of the frame, s
     * @param scale size of the person in the unit of the joints: the side of the region
     */
    fun filter(joints: List<Joint>, time: Double, scale: Double): List<Joint> {
        val elapsed = time - timeS
        timeS = time
        if (joints.size != points.size || !(elapsed > 0)) {
            points = joints
            velocity = joints.map { Joint(0.0, 0.0, 0.0, 0.0) }
            return joints
        }
        val share = lowPass(speedCutoff, elapsed)
        velocity = joints.indices.map {
            val (now, last, old) = Triple(joints[it], points[it], velocity[it])
            Joint(
                old.x + share * ((now.x - last.x) / elapsed - old.x),
                old.y + share * ((now.y - last.y) / elapsed - old.y),
                old.z + share * ((now.z - last.z) / elapsed - old.z),
                0.0,
            )
        }
        points = joints.indices.map {
            val (now, last, moving) = Triple(joints[it], points[it], velocity[it])
            val speed = sqrt(moving.x * moving.x + moving.y * moving.y + moving.z * moving.z) / scale
            val weight = lowPass(minCutoff + beta * speed, elapsed)
            Joint(
                last.x + weight * (now.x - last.x), last.y + weight * (now.y - last.y),
                last.z + weight * (now.z - last.z), now.confidence,
            )
        }
        return points
    }

    /** Returns the weight of a new value in a low-pass filter. cutoff: Hz; elapsed: s since the last value. */
    private fun lowPass(cutoff: Double, elapsed: Double): Double {
        val turn = 2 * PI * cutoff * elapsed
        return turn / (turn + 1)
    }
}
