// Copyright 2026 the edgepose authors. Licence: Apache-2.0.

import java.util.Arrays;

/**
 * Pre- and postprocessing of edgepose models, in Java 8 without dependencies, for Android and servers.
 *
 * <p>The methods follow docs/decoder.md of edgepose, as the decoders in other languages do, and give the same results. The
 * settings come from the manifest.json of a bundle. Add a package statement when you copy the file into your app.
 *
 * <pre>{@code
 * bitmap.getPixels(argb, 0, width, 0, 0, width, height);
 * Region region = EdgeposeDecoder.regionOfBox(x, y, w, h, width, height, 1.25);
 * byte[] rgb = EdgeposeDecoder.sampleRegion(argb, width, height, region, size, Border.BLACK);
 * // run the model on EdgeposeDecoder.normalise(rgb, mean, std, Layout.NHWC)
 * Pose pose = EdgeposeDecoder.decode(raw, model);
 * double[][] px = EdgeposeDecoder.toPhoto(pose.joints, region, model.depthRangeMm);
 * double[][] mm = EdgeposeDecoder.toCamera(px, region.rootDepth(focal), focal, width / 2.0, height / 2.0);
 * }</pre>
 */
public final class EdgeposeDecoder {
    private static final int SIMCC_SPLIT = 2; // bins per heatmap cell along x and y
    private static final double LEAST_CONFIDENCE = 1e-6; // added to confidences before the logarithm
    private static final double DEPTH_UNIT_MM = 500; // of depth differences in the regression of the scale
    private static final double REFERENCE_MM = 2000; // assumed side of a person's region

    private EdgeposeDecoder() {}

    /** The crop beyond the image: black, or its border pixels continued. */
    public enum Border { BLACK, REPLICATE }

    /** Output representation of the network, {@code postprocessing.head} of the manifest. */
    public enum Head { VOLUMETRIC, HEATMAP_25D, SIMCC }

    /** Order of the axes of a tensor; ignored for the raw output of simcc. */
    public enum Layout { NHWC, NCHW }

    /** A square region of an image: centre in px, side in px, clockwise angle in rad. */
    public static final class Region {
        public final double x, y, side, rotation;

        public Region(double x, double y, double side, double rotation) {
            this.x = x;
            this.y = y;
            this.side = side;
            this.rotation = rotation;
        }

        /** Returns an estimate of the distance of the root joint in mm: the region is assumed to be 2 m wide. */
        public double rootDepth(double focal) {
            return REFERENCE_MM * focal / side;
        }
    }

    /** {@code postprocessing} of the manifest, the length of {@code skeleton.joints}, and {@code outputs[0].layout}. */
    public static final class Model {
        public final Head head;
        public final Layout layout;
        public final int joints, heatmap, depthBins;
        public final double depthScale, depthRangeMm;

        public Model(Head head, Layout layout, int joints, int heatmap, int depthBins, double depthScale,
                double depthRangeMm) {
            this.head = head;
            this.layout = layout;
            this.joints = joints;
            this.heatmap = heatmap;
            this.depthBins = depthBins;
            this.depthScale = depthScale;
            this.depthRangeMm = depthRangeMm;
        }
    }

    /**
     * Decoded joints: {x, y, z} of each, as fractions of the crop and of the depth range; and the largest probability of one
     * cell in the image plane.
     */
    public static final class Pose {
        public final double[][] joints;
        public final double[] confidence;

        Pose(int count) {
            joints = new double[count][3];
            confidence = new double[count];
        }
    }

    /**
     * Returns the upright square around a person's box in px, after it is clipped to the image.
     *
     * @throws IllegalArgumentException less than 1 px of the box is inside the image
     */
    public static Region regionOfBox(double x, double y, double w, double h, int width, int height, double padding) {
        double left = Math.max(x, 0), top = Math.max(y, 0);
        double inW = Math.min(x + w, width) - left, inH = Math.min(y + h, height) - top;
        if (!(inW >= 1 && inH >= 1)) {
            throw new IllegalArgumentException("less than 1 px of the box is inside the image");
        }
        return new Region(left + inW / 2, top + inH / 2, Math.max(inW, inH) * padding, 0);
    }

    /**
     * Returns the region for the next frame of a video, by the joints {x, y, ...} px of a person in this one.
     *
     * @param hips, shoulders, reach, scale {@code preprocessing.roi} of the manifest
     */
    public static Region regionOfJoints(double[][] joints, int[] hips, int[] shoulders, double reach, double scale) {
        double x = mean(joints, hips, 0), y = mean(joints, hips, 1), largest = 0;
        for (double[] joint : joints) {
            largest = Math.max(largest, (joint[0] - x) * (joint[0] - x) + (joint[1] - y) * (joint[1] - y));
        }
        double rotation = Math.atan2(mean(joints, shoulders, 0) - x, y - mean(joints, shoulders, 1));
        return new Region(x, y, scale * reach * Math.sqrt(largest), rotation);
    }

    private static double mean(double[][] joints, int[] indices, int axis) {
        double sum = 0;
        for (int index : indices) sum += joints[index][axis];
        return sum / indices.length;
    }

    /**
     * Returns the region of a detection by MediaPipe's pose detector: centre of the hips, and the point above it on the circle
     * around the person, px.
     *
     * @param scale side of the region in radii of the circle: 2.5
     */
    public static Region regionOfCircle(double hipsX, double hipsY, double rimX, double rimY, double scale) {
        double x = rimX - hipsX, y = rimY - hipsY;
        return new Region(hipsX, hipsY, scale * Math.sqrt(x * x + y * y), Math.atan2(x, -y));
    }

    /**
     * Scales a region of an image to size x size px by area averaging. Integers make the result equal in all languages.
     *
     * @param argb pixels, rows first, as {@code Bitmap.getPixels} returns them
     * @return RGB values, rows first (size * size * 3); a byte holds 0 to 255 without sign
     */
    public static byte[] sampleRegion(int[] argb, int width, int height, Region region, int size, Border border) {
        double step = region.side / size, half = region.side / 2;
        double cos = Math.cos(region.rotation), sin = Math.sin(region.rotation);
        int fine = samplesPerPx(width, height, step), whole = 65536 * fine * fine;
        byte[] rgb = new byte[3 * size * size];
        int[] sums = new int[3]; // at most 255 * 65536 * 64, below 2^31
        for (int cell = 0; cell < size * size; cell++) {
            int row = cell / size, column = cell % size;
            Arrays.fill(sums, 0);
            for (int atRow = row * fine; atRow < (row + 1) * fine; atRow++) {
                for (int atColumn = column * fine; atColumn < (column + 1) * fine; atColumn++) {
                    double u = (atColumn + 0.5) * (step / fine) - half, v = (atRow + 0.5) * (step / fine) - half;
                    int x = fixed(region.x + cos * u - sin * v, width), y = fixed(region.y + sin * u + cos * v, height);
                    addSample(argb, width, height, x, y, border, sums);
                }
            }
            for (int channel = 0; channel < 3; channel++) {
                rgb[3 * cell + channel] = (byte) ((sums[channel] + whole / 2) / whole);
            }
        }
        return rgb;
    }

    /** Adds a sample at a place in 1/256 px, weighted with 65536, to the sums of R, G and B. */
    private static void addSample(int[] argb, int width, int height, int atX, int atY, Border border, int[] sums) {
        int x = atX >> 8, y = atY >> 8, shareX = atX & 255, shareY = atY & 255;
        for (int tap = 0; tap < 4; tap++) {
            int px = x + (tap & 1), py = y + (tap >> 1);
            int weight = ((tap & 1) == 1 ? shareX : 256 - shareX) * (tap >> 1 == 1 ? shareY : 256 - shareY);
            if (px < 0 || px >= width || py < 0 || py >= height) {
                if (border == Border.BLACK) continue;
                px = Math.min(Math.max(px, 0), width - 1);
                py = Math.min(Math.max(py, 0), height - 1);
            }
            int pixel = argb[py * width + px];
            sums[0] += weight * (pixel >> 16 & 255);
            sums[1] += weight * (pixel >> 8 & 255);
            sums[2] += weight * (pixel & 255);
        }
    }

    /** Returns how many samples a px of the crop averages along an axis; small images are sharper and get finer samples. */
    private static int samplesPerPx(int width, int height, double shrink) {
        double fine = Math.min(width, height) > 256 ? Math.floor(shrink * 1.1) : Math.rint(shrink);
        return (int) Math.min(Math.max(fine, 1), 8);
    }

    /** Returns a place in 1/256 px from the centre of pixel 0; places far outside of count px are moved nearer. */
    private static int fixed(double at, int count) {
        return (int) Math.floor((Math.min(Math.max(at, -2), count + 2) - 0.5) * 256 + 0.5);
    }

    /**
     * Returns a crop as the model's float32 input, (value / 255 - mean) / std. A model with uint8 input receives the crop.
     *
     * @param mean, std {@code preprocessing} of the manifest
     */
    public static float[] normalise(byte[] rgb, double[] mean, double[] std, Layout layout) {
        int area = rgb.length / 3;
        float[] input = new float[rgb.length];
        for (int at = 0; at < rgb.length; at++) {
            int channel = at % 3;
            double value = ((rgb[at] & 255) / 255.0 - mean[channel]) / std[channel];
            input[layout == Layout.NHWC ? at : channel * area + at / 3] = (float) value;
        }
        return input;
    }

    /** Decodes the raw output of a model. */
    public static Pose decode(float[] raw, Model model) {
        Pose pose = new Pose(model.joints);
        for (int joint = 0; joint < model.joints; joint++) {
            if (model.head == Head.SIMCC) {
                decodeSimcc(raw, model, joint, pose);
            } else {
                decodeMaps(raw, model, joint, pose);
            }
        }
        return pose;
    }

    private static void decodeMaps(float[] raw, Model model, int joint, Pose pose) {
        boolean volumetric = model.head == Head.VOLUMETRIC;
        int cells = model.heatmap, area = cells * cells, bins = volumetric ? model.depthBins : 1;
        int channels = model.joints * (volumetric ? bins : 2);
        int cellStep = model.layout == Layout.NHWC ? channels : 1, channelStep = model.layout == Layout.NHWC ? 1 : area;
        double highest = Double.NEGATIVE_INFINITY;
        for (int bin = 0; bin < bins; bin++) {
            for (int cell = 0; cell < area; cell++) {
                highest = Math.max(highest, raw[(joint * bins + bin) * channelStep + cell * cellStep]);
            }
        }
        double sum = 0, x = 0, y = 0, z = 0, peak = 0;
        for (int cell = 0; cell < area; cell++) {
            double column = 0;
            for (int bin = 0; bin < bins; bin++) {
                double weight = Math.exp(raw[(joint * bins + bin) * channelStep + cell * cellStep] - highest);
                double depth = volumetric
                        ? centre(bin, bins)
                        : raw[(model.joints + joint) * channelStep + cell * cellStep];
                column += weight;
                z += weight * depth;
            }
            sum += column;
            x += column * centre(cell % cells, cells);
            y += column * centre(cell / cells, cells);
            peak = Math.max(peak, column);
        }
        pose.joints[joint][0] = x / sum;
        pose.joints[joint][1] = y / sum;
        pose.joints[joint][2] = volumetric ? z / sum : z / sum / model.depthScale + 0.5;
        pose.confidence[joint] = peak / sum;
    }

    private static void decodeSimcc(float[] raw, Model model, int joint, Pose pose) {
        int fine = SIMCC_SPLIT * model.heatmap, start = joint * (2 * fine + model.depthBins);
        double[] x = softArgmax(raw, start, fine), y = softArgmax(raw, start + fine, fine);
        double[] z = softArgmax(raw, start + 2 * fine, model.depthBins);
        pose.joints[joint] = new double[] {x[0], y[0], z[0]};
        pose.confidence[joint] = x[1] * y[1];
    }

    /** Returns the soft-argmax of count scores as a fraction, and the largest probability. */
    private static double[] softArgmax(float[] raw, int start, int count) {
        double highest = Double.NEGATIVE_INFINITY, sum = 0, mean = 0;
        for (int index = 0; index < count; index++) highest = Math.max(highest, raw[start + index]);
        for (int index = 0; index < count; index++) {
            double weight = Math.exp(raw[start + index] - highest);
            sum += weight;
            mean += weight * centre(index, count);
        }
        return new double[] {mean / sum, 1 / sum};
    }

    private static double centre(int cell, int cells) {
        return (cell + 0.5) / cells;
    }

    /** Returns the probability that the crop shows a person. scale, offset: {@code confidence.presence} of the manifest */
    public static double presence(double[] confidence, double scale, double offset) {
        double sum = 0;
        for (double value : confidence) sum += Math.log(value + LEAST_CONFIDENCE);
        return sigmoid(scale * sum / confidence.length + offset);
    }

    /**
     * Returns the probability of each joint that it is in the image and not covered.
     *
     * @param lines {scale, offset} of each joint, {@code confidence.visibility} of the manifest
     */
    public static double[] visibility(double[] confidence, double[][] lines) {
        double[] result = new double[confidence.length];
        for (int joint = 0; joint < confidence.length; joint++) {
            result[joint] = sigmoid(lines[joint][0] * Math.log(confidence[joint] + LEAST_CONFIDENCE) + lines[joint][1]);
        }
        return result;
    }

    private static double sigmoid(double logit) {
        return 1 / (1 + Math.exp(-logit));
    }

    /** {@code postprocessing.scale} of the manifest: the size of a person's region by the pose. */
    public static final class Scale {
        public final int[][] edges;
        public final double[] flat, deep;
        public final double size, offset, low, high;

        public Scale(int[][] edges, double[] flat, double[] deep, double size, double offset, double low, double high) {
            this.edges = edges;
            this.flat = flat;
            this.deep = deep;
            this.size = size;
            this.offset = offset;
            this.low = low;
            this.high = high;
        }

        /** Returns the size of the region's side at the distance of the root joint in mm, by decoded joints. */
        public double mmPerSide(double[][] joints, double depthRangeMm) {
            double x = 0, y = 0, squares = 0;
            for (double[] joint : joints) {
                x += joint[0] / joints.length;
                y += joint[1] / joints.length;
            }
            for (double[] joint : joints) squares += Math.pow(joint[0] - x, 2) + Math.pow(joint[1] - y, 2);
            double extent = Math.sqrt(squares / joints.length), logMm = offset + size * Math.log(extent);
            for (int edge = 0; edge < edges.length; edge++) {
                double[] first = joints[edges[edge][0]], second = joints[edges[edge][1]];
                logMm += flat[edge] * Math.hypot(first[0] - second[0], first[1] - second[1]) / extent;
                logMm += deep[edge] * Math.abs(first[2] - second[2]) * depthRangeMm / DEPTH_UNIT_MM;
            }
            return Math.exp(Math.min(Math.max(logMm, low), high));
        }
    }

    /** Converts decoded joints to {px, px, mm}: places in the image, and depth behind the root joint. */
    public static double[][] toPhoto(double[][] joints, Region region, double depthRangeMm) {
        double cos = Math.cos(region.rotation), sin = Math.sin(region.rotation);
        double[][] result = new double[joints.length][];
        for (int joint = 0; joint < joints.length; joint++) {
            double u = (joints[joint][0] - 0.5) * region.side, v = (joints[joint][1] - 0.5) * region.side;
            double z = (joints[joint][2] - 0.5) * depthRangeMm;
            result[joint] = new double[] {region.x + cos * u - sin * v, region.y + sin * u + cos * v, z};
        }
        return result;
    }

    /**
     * Converts joints {px, px, mm} to camera coordinates in mm: x right, y down, z forward.
     *
     * @param rootDepthMm distance of the root joint along z
     * @param focal focal length, px; the longer side of the image if unknown
     * @param centreX, centreY principal point, px; the centre of the image if unknown
     */
    public static double[][] toCamera(double[][] joints, double rootDepthMm, double focal, double centreX, double centreY) {
        double[][] result = new double[joints.length][];
        for (int joint = 0; joint < joints.length; joint++) {
            double z = joints[joint][2] + rootDepthMm;
            double x = (joints[joint][0] - centreX) / focal * z, y = (joints[joint][1] - centreY) / focal * z;
            result[joint] = new double[] {x, y, z};
        }
        return result;
    }

    /**
     * One-Euro filter (Casiez, Roussel and Vogel 2012) of the points of one person: less jitter at rest, little lag in motion.
     * A point passes a low-pass filter whose cutoff frequency grows with its speed.
     */
    public static final class OneEuro {
        private final double minCutoff, beta, speedCutoff;
        private double timeS = Double.NaN;
        private double[][] points = {}, velocity = {};

        public OneEuro() {
            this(0.5, 10, 1);
        }

        /**
         * @param minCutoff cutoff frequency at rest, Hz
         * @param beta growth of the cutoff frequency, Hz for a speed of one scale per second
         * @param speedCutoff cutoff frequency of the speed, Hz
         */
        public OneEuro(double minCutoff, double beta, double speedCutoff) {
            this.minCutoff = minCutoff;
            this.beta = beta;
            this.speedCutoff = speedCutoff;
        }

        /**
         * Returns smoothed points. The first points, and those of a time that does not increase, stay as they are.
         *
         * @param given coordinates of each point
         * @param time of the frame, s
         * @param scale size of the person in the unit of the points: the side of the region
         */
        public double[][] filter(double[][] given, double time, double scale) {
            double elapsed = time - timeS;
            boolean first = given.length != points.length || !(elapsed > 0);
            double[][] result = new double[given.length][];
            double[][] speeds = new double[given.length][];
            timeS = time;
            for (int index = 0; index < given.length; index++) {
                result[index] = given[index].clone();
                speeds[index] = new double[given[index].length];
                if (first) continue;
                double square = 0;
                for (int axis = 0; axis < given[index].length; axis++) {
                    double old = velocity[index][axis];
                    double now = (given[index][axis] - points[index][axis]) / elapsed;
                    speeds[index][axis] = old + lowPass(speedCutoff, elapsed) * (now - old);
                    square += speeds[index][axis] * speeds[index][axis];
                }
                double weight = lowPass(minCutoff + beta * Math.sqrt(square) / scale, elapsed);
                for (int axis = 0; axis < given[index].length; axis++) {
                    result[index][axis] = points[index][axis] + weight * (given[index][axis] - points[index][axis]);
                }
            }
            velocity = speeds;
            points = result;
            double[][] copy = new double[result.length][];
            for (int index = 0; index < copy.length; index++) copy[index] = result[index].clone();
            return copy;
        }

        /** Returns the weight of a new value in a low-pass filter. cutoff: Hz; elapsed: s since the last value. */
        private static double lowPass(double cutoff, double elapsed) {
            double turn = 2 * Math.PI * cutoff * elapsed;
            return turn / (turn + 1);
        }
    }
}
