// Pre- and postprocessing of edgepose models, in Swift 5 without dependencies other than Foundation.
//
// Copyright 2026 the edgepose authors. Licence: Apache-2.0.
//
// Not compiled by the tests of edgepose, unlike the decoders in Python, JavaScript, C, Java and C#. It is a port of
// EdgeposeDecoder.java; compare it with the golden vectors of your bundle before you rely on it.
//
// The functions follow docs/decoder.md of edgepose. The settings come from the manifest.json of a bundle.
//
//     guard let region = EdgeposeDecoder.region(ofBox: (x, y, w, h), in: image, padding: 1.25) else { return }
//     let rgb = EdgeposeDecoder.sample(image, region: region, size: size)
//     // run the model on EdgeposeDecoder.normalise(rgb, mean: mean, std: std, layout: .nchw)
//     let px = EdgeposeDecoder.toPhoto(EdgeposeDecoder.decode(raw, model: model), region: region, depthRangeMm: 2000)
//     let mm = EdgeposeDecoder.toCamera(px, rootDepthMm: region.rootDepth(focal: focal), focal: focal, centre: centre)

import Foundation

public enum EdgeposeDecoder {
    /// The crop beyond the image: black, or its border pixels continued.
    public enum Border { case black, replicate }

    /// Output representation of the network, `postprocessing.head` of the manifest.
    public enum Head: String { case volumetric, heatmap25D = "heatmap-2.5d", simcc }

    /// Order of the axes of a tensor; ignored for the raw output of simcc.
    public enum Layout: String { case nhwc = "NHWC", nchw = "NCHW" }

    /// A square region of an image: centre in px, side in px, clockwise angle in rad.
    public struct Region {
        public var x, y, side, rotation: Double

        public init(x: Double, y: Double, side: Double, rotation: Double = 0) {
            (self.x, self.y, self.side, self.rotation) = (x, y, side, rotation)
        }

        /// An estimate of the distance of the root joint in mm: the region is assumed to be 2 m wide.
        public func rootDepth(focal: Double) -> Double { 2000 * focal / side }
    }

    /// A joint; the meaning of the coordinates depends on the function that returned it.
    public struct Joint {
        public var x, y, z, confidence: Double

        public init(x: Double, y: Double, z: Double, confidence: Double) {
            (self.x, self.y, self.z, self.confidence) = (x, y, z, confidence)
        }
    }

    /// An image of 8 bits a channel whose first three bytes of a pixel are R, G and B.
    public struct PixelImage {
        public var data: [UInt8]
        public var width, height, bytesPerPixel, bytesPerRow: Int

        public init(data: [UInt8], width: Int, height: Int, bytesPerPixel: Int, bytesPerRow: Int) {
            (self.data, self.width, self.height) = (data, width, height)
            (self.bytesPerPixel, self.bytesPerRow) = (bytesPerPixel, bytesPerRow)
        }
    }

    private static let leastConfidence = 1e-6  // added to confidences before the logarithm
    private static let depthUnitMm = 500.0  // of depth differences in the regression of the scale

    /// `postprocessing.scale` of the manifest: the size of a person's region by the pose.
    public struct Scale {
        public var edges: [(Int, Int)]
        public var flat, deep: [Double]
        public var size, offset, low, high: Double

        public init(
            edges: [(Int, Int)], flat: [Double], deep: [Double], size: Double, offset: Double, low: Double, high: Double
        ) {
            (self.edges, self.flat, self.deep) = (edges, flat, deep)
            (self.size, self.offset, self.low, self.high) = (size, offset, low, high)
        }
    }

    /// `postprocessing` of the manifest, the length of `skeleton.joints`, and `outputs[0].layout`.
    public struct Model {
        public var head: Head
        public var layout: Layout
        public var joints, heatmap, depthBins: Int
        public var depthScale, depthRangeMm: Double

        public init(
            head: Head, layout: Layout, joints: Int, heatmap: Int, depthBins: Int, depthScale: Double = 1,
            depthRangeMm: Double = 2000
        ) {
            (self.head, self.layout, self.joints) = (head, layout, joints)
            (self.heatmap, self.depthBins) = (heatmap, depthBins)
            (self.depthScale, self.depthRangeMm) = (depthScale, depthRangeMm)
        }
    }

    // MARK: Regions

    /// Returns the upright square around a person's box in px, clipped to the image; nil if less than 1 px is inside.
    public static func region(
        ofBox box: (x: Double, y: Double, w: Double, h: Double), in image: PixelImage, padding: Double
    ) -> Region? {
        let left = max(box.x, 0), top = max(box.y, 0)
        let w = min(box.x + box.w, Double(image.width)) - left, h = min(box.y + box.h, Double(image.height)) - top
        guard w >= 1, h >= 1 else { return nil }
        return Region(x: left + w / 2, y: top + h / 2, side: max(w, h) * padding)
    }

    /// Returns the region for the next frame of a video, by the joints (px) of a person in this one.
    ///
    /// - Parameters hips, shoulders, reach, scale: `preprocessing.roi` of the manifest
    public static func region(
        ofJoints joints: [Joint], hips: [Int], shoulders: [Int], reach: Double, scale: Double
    ) -> Region {
        func mean(_ indices: [Int], _ value: (Joint) -> Double) -> Double {
            indices.reduce(0) { $0 + value(joints[$1]) } / Double(indices.count)
        }
        let x = mean(hips) { $0.x }, y = mean(hips) { $0.y }
        let largest = joints.map { ($0.x - x) * ($0.x - x) + ($0.y - y) * ($0.y - y) }.max() ?? 0
        let rotation = atan2(mean(shoulders) { $0.x } - x, y - mean(shoulders) { $0.y })
        return Region(x: x, y: y, side: scale * reach * largest.squareRoot(), rotation: rotation)
    }

    /// Returns the region of a detection by MediaPipe's pose detector: centre of the hips, and the point above it on the
    /// circle around the person, px.
    public static func region(
        ofHips hips: (x: Double, y: Double), rim: (x: Double, y: Double), scale: Double = 2.5
    ) -> Region {
        let x = rim.x - hips.x, y = rim.y - hips.y
        return Region(x: hips.x, y: hips.y, side: scale * (x * x + y * y).squareRoot(), rotation: atan2(x, -y))
    }

    // MARK: Crops

    /// Scales a region of an image to size x size px by area averaging. Integers make the result equal in all languages.
    ///
    /// - Returns: RGB values, rows first (size * size * 3)
    public static func sample(_ image: PixelImage, region: Region, size: Int, border: Border = .black) -> [UInt8] {
        let step = region.side / Double(size), half = region.side / 2
        let cosine = cos(region.rotation), sine = sin(region.rotation)
        let small = min(image.width, image.height) <= 256
        let samples = small ? step.rounded(.toNearestOrEven) : (step * 1.1).rounded(.down)
        let fine = Int(min(max(samples, 1), 8)), whole = 65536 * fine * fine
        var rgb = [UInt8](repeating: 0, count: 3 * size * size)
        for cell in 0..<size * size {
            let row = cell / size, column = cell % size
            var sums = (0, 0, 0)
            for atRow in row * fine..<(row + 1) * fine {
                for atColumn in column * fine..<(column + 1) * fine {
                    let u = (Double(atColumn) + 0.5) * (step / Double(fine)) - half
                    let v = (Double(atRow) + 0.5) * (step / Double(fine)) - half
                    let x = fixed(region.x + cosine * u - sine * v, image.width)
                    let y = fixed(region.y + sine * u + cosine * v, image.height)
                    addSample(image, x, y, border, &sums)
                }
            }
            rgb[3 * cell] = UInt8((sums.0 + whole / 2) / whole)
            rgb[3 * cell + 1] = UInt8((sums.1 + whole / 2) / whole)
            rgb[3 * cell + 2] = UInt8((sums.2 + whole / 2) / whole)
        }
        return rgb
    }

    /// Adds a sample at a place in 1/256 px, weighted with 65536, to the sums of R, G and B.
    private static func addSample(
        _ image: PixelImage, _ atX: Int, _ atY: Int, _ border: Border, _ sums: inout (Int, Int, Int)
    ) {
        let shareX = atX & 255, shareY = atY & 255
        for tap in 0..<4 {
            var px = (atX >> 8) + (tap & 1), py = (atY >> 8) + (tap >> 1)
            let weight = (tap & 1 == 1 ? shareX : 256 - shareX) * (tap >> 1 == 1 ? shareY : 256 - shareY)
            if px < 0 || px >= image.width || py < 0 || py >= image.height {
                if border == .black { continue }
                px = min(max(px, 0), image.width - 1)
                py = min(max(py, 0), image.height - 1)
            }
            let from = py * image.bytesPerRow + px * image.bytesPerPixel
            sums.0 += weight * Int(image.data[from])
            sums.1 += weight * Int(image.data[from + 1])
            sums.2 += weight * Int(image.data[from + 2])
        }
    }

    /// Returns a place in 1/256 px from the centre of pixel 0; places far outside of count px are moved nearer.
    private static func fixed(_ at: Double, _ count: Int) -> Int {
        Int(((min(max(at, -2), Double(count) + 2) - 0.5) * 256 + 0.5).rounded(.down))
    }

    /// Returns a crop as the model's float32 input, (value / 255 - mean) / std. A model with uint8 input receives the crop.
    ///
    /// - Parameters mean, std: `preprocessing` of the manifest
    public static func normalise(_ rgb: [UInt8], mean: [Double], std: [Double], layout: Layout) -> [Float] {
        let area = rgb.count / 3
        var input = [Float](repeating: 0, count: rgb.count)
        for at in rgb.indices {
            let channel = at % 3
            let value = (Double(rgb[at]) / 255 - mean[channel]) / std[channel]
            input[layout == .nhwc ? at : channel * area + at / 3] = Float(value)
        }
        return input
    }

    // MARK: Decoding

    /// Decodes the raw output of a model: x and y as fractions of the crop, z as a fraction of the depth range.
    public static func decode(_ raw: [Float], model: Model) -> [Joint] {
        (0..<model.joints).map { model.head == .simcc ? decodeSimcc(raw, model, $0) : decodeMaps(raw, model, $0) }
    }

    private static func decodeMaps(_ raw: [Float], _ model: Model, _ joint: Int) -> Joint {
        let volumetric = model.head == .volumetric, cells = model.heatmap, area = cells * cells
        let bins = volumetric ? model.depthBins : 1, channels = model.joints * (volumetric ? bins : 2)
        func value(_ channel: Int, _ cell: Int) -> Double {
            Double(raw[model.layout == .nhwc ? cell * channels + channel : channel * area + cell])
        }
        var highest = -Double.infinity
        for bin in 0..<bins {
            for cell in 0..<area { highest = max(highest, value(joint * bins + bin, cell)) }
        }
        var sum = 0.0, x = 0.0, y = 0.0, z = 0.0, peak = 0.0
        for cell in 0..<area {
            var column = 0.0
            for bin in 0..<bins {
                let weight = exp(value(joint * bins + bin, cell) - highest)
                column += weight
                z += weight * (volumetric ? centre(bin, bins) : value(model.joints + joint, cell))
            }
            sum += column
            x += column * centre(cell % cells, cells)
            y += column * centre(cell / cells, cells)
            peak = max(peak, column)
        }
        let depth = volumetric ? z / sum : z / sum / model.depthScale + 0.5
        return Joint(x: x / sum, y: y / sum, z: depth, confidence: peak / sum)
    }

    private static func decodeSimcc(_ raw: [Float], _ model: Model, _ joint: Int) -> Joint {
        let fine = 2 * model.heatmap, start = joint * (2 * fine + model.depthBins)
        let x = softArgmax(raw[start..<start + fine]), y = softArgmax(raw[start + fine..<start + 2 * fine])
        let z = softArgmax(raw[start + 2 * fine..<start + 2 * fine + model.depthBins])
        return Joint(x: x.place, y: y.place, z: z.place, confidence: x.peak * y.peak)
    }

    /// Returns the soft-argmax of scores as a fraction, and the largest probability.
    private static func softArgmax(_ scores: ArraySlice<Float>) -> (place: Double, peak: Double) {
        let highest = Double(scores.max() ?? 0)
        var sum = 0.0, mean = 0.0
        for (index, score) in scores.enumerated() {
            let weight = exp(Double(score) - highest)
            sum += weight
            mean += weight * centre(index, scores.count)
        }
        return (mean / sum, 1 / sum)
    }

    private static func centre(_ cell: Int, _ cells: Int) -> Double { (Double(cell) + 0.5) / Double(cells) }

    /// Returns the probability that the crop shows a person. scale, offset: `confidence.presence` of the manifest
    public static func presence(_ joints: [Joint], scale: Double, offset: Double) -> Double {
        let sum = joints.reduce(0) { $0 + log($1.confidence + leastConfidence) }
        return sigmoid(scale * sum / Double(joints.count) + offset)
    }

    /// Returns the probability of each joint that it is in the image and not covered.
    ///
    /// - Parameter lines: scale and offset of each joint, `confidence.visibility` of the manifest
    public static func visibility(_ joints: [Joint], lines: [(scale: Double, offset: Double)]) -> [Double] {
        zip(joints, lines).map { sigmoid($1.scale * log($0.confidence + leastConfidence) + $1.offset) }
    }

    private static func sigmoid(_ logit: Double) -> Double { 1 / (1 + exp(-logit)) }

    /// Returns the size of the region's side at the distance of the root joint in mm, by decoded joints.
    public static func mmPerSide(_ joints: [Joint], scale: Scale, depthRangeMm: Double) -> Double {
        let count = Double(joints.count)
        let x = joints.reduce(0) { $0 + $1.x } / count, y = joints.reduce(0) { $0 + $1.y } / count
        let squares = joints.reduce(0) { $0 + ($1.x - x) * ($1.x - x) + ($1.y - y) * ($1.y - y) }
        let extent = sqrt(squares / count)
        var logMm = scale.offset + scale.size * log(extent)
        for (edge, ends) in scale.edges.enumerated() {
            let first = joints[ends.0], second = joints[ends.1]
            logMm += scale.flat[edge] * hypot(first.x - second.x, first.y - second.y) / extent
            logMm += scale.deep[edge] * abs(first.z - second.z) * depthRangeMm / depthUnitMm
        }
        return exp(min(max(logMm, scale.low), scale.high))
    }

    /// Converts decoded joints to px and px of the image, and mm behind the root joint.
    public static func toPhoto(_ joints: [Joint], region: Region, depthRangeMm: Double) -> [Joint] {
        let cosine = cos(region.rotation), sine = sin(region.rotation)
        return joints.map {
            let u = ($0.x - 0.5) * region.side, v = ($0.y - 0.5) * region.side
            return Joint(
                x: region.x + cosine * u - sine * v, y: region.y + sine * u + cosine * v,
                z: ($0.z - 0.5) * depthRangeMm, confidence: $0.confidence)
        }
    }

    /// Converts joints in px, px and mm to camera coordinates in mm: x right, y down, z forward.
    ///
    /// - Parameters:
    ///   - rootDepthMm: distance of the root joint along z
    ///   - focal: focal length, px; the longer side of the image if unknown
    ///   - centre: principal point, px; the centre of the image if unknown
    public static func toCamera(
        _ joints: [Joint], rootDepthMm: Double, focal: Double, centre: (x: Double, y: Double)
    ) -> [Joint] {
        joints.map {
            let z = $0.z + rootDepthMm
            return Joint(
                x: ($0.x - centre.x) / focal * z, y: ($0.y - centre.y) / focal * z, z: z, confidence: $0.confidence)
        }
    }

    // MARK: Smoothing

    /// One-Euro filter (Casiez, Roussel and Vogel 2012) of the joints of one person: less jitter at rest, little lag in
    /// motion. A joint passes a low-pass filter whose cutoff frequency grows with its speed.
    public struct OneEuro {
        private let minCutoff, beta, speedCutoff: Double
        private var time = Double.nan
        private var points: [Joint] = [], velocity: [Joint] = []

        /// - Parameters:
        ///   - minCutoff: cutoff frequency at rest, Hz
        ///   - beta: growth of the cutoff frequency, Hz for a speed of one scale per second
        ///   - speedCutoff: cutoff frequency of the speed, Hz
        public init(minCutoff: Double = 0.5, beta: Double = 10, speedCutoff: Double = 1) {
            (self.minCutoff, self.beta, self.speedCutoff) = (minCutoff, beta, speedCutoff)
        }

        /// Returns smoothed joints. The first ones, and those of a time that does not increase, stay as they are.
        ///
        /// - Parameters:
        ///   - time: of the frame, s
        ///   - scale: size of the person in the unit of the joints: the side of the region
        public mutating func filter(_ joints: [Joint], time now: Double, scale: Double) -> [Joint] {
            let elapsed = now - time
            time = now
            guard joints.count == points.count, elapsed > 0 else {
                points = joints
                velocity = joints.map { _ in Joint(x: 0, y: 0, z: 0, confidence: 0) }
                return joints
            }
            let share = OneEuro.lowPass(speedCutoff, elapsed)
            for (index, given) in joints.enumerated() {
                let last = points[index]
                var moving = velocity[index]
                moving.x += share * ((given.x - last.x) / elapsed - moving.x)
                moving.y += share * ((given.y - last.y) / elapsed - moving.y)
                moving.z += share * ((given.z - last.z) / elapsed - moving.z)
                velocity[index] = moving
                let square = moving.x * moving.x + moving.y * moving.y + moving.z * moving.z
                let weight = OneEuro.lowPass(minCutoff + beta * square.squareRoot() / scale, elapsed)
                points[index] = Joint(
                    x: last.x + weight * (given.x - last.x), y: last.y + weight * (given.y - last.y),
                    z: last.z + weight * (given.z - last.z), confidence: given.confidence)
            }
            return points
        }

        /// Returns the weight of a new value in a low-pass filter. cutoff: Hz; elapsed: s since the last value.
        private static func lowPass(_ cutoff: Double, _ elapsed: Double) -> Double {
            let turn = 2 * Double.pi * cutoff * elapsed
            return turn / (turn + 1)
        }
    }
}
