// Copyright 2026 the edgepose authors. Licence: Apache-2.0.

using System;

namespace Edgepose
{
    /// <summary>The crop beyond the image: black, or its border pixels continued.</summary>
    public enum Border { Black, Replicate }

    /// <summary>Output representation of the network, <c>postprocessing.head</c> of the manifest.</summary>
    public enum Head { Volumetric, Heatmap25D, Simcc }

    /// <summary>Order of the axes of a tensor; ignored for the raw output of simcc.</summary>
    public enum Layout { Nhwc, Nchw }

    /// <summary>A square region of an image: centre in px, side in px, clockwise angle in rad.</summary>
    public struct Region
    {
        public readonly double X, Y, Side, Rotation;

        public Region(double x, double y, double side, double rotation = 0)
        {
            X = x;
            Y = y;
            Side = side;
            Rotation = rotation;
        }

        /// <summary>Returns an estimate of the distance of the root joint in mm: the region is assumed to be 2 m wide.</summary>
        public double RootDepth(double focal) => 2000 * focal / Side;
    }

    /// <summary>A point or joint; the meaning of the coordinates depends on the method that returned it.</summary>
    public struct Point3
    {
        public double X, Y, Z;

        public Point3(double x, double y, double z)
        {
            X = x;
            Y = y;
            Z = z;
        }
    }

    /// <summary>An image of 8 bits a channel, rows from top to bottom, whose first bytes of a pixel are R, G and B.</summary>
    /// <remarks>Unity stores the rows of a texture from bottom to top: flip them first.</remarks>
    public sealed class PixelImage
    {
        public readonly byte[] Data;
        public readonly int Width, Height, BytesPerPixel;

        public PixelImage(byte[] data, int width, int height, int bytesPerPixel = 4)
        {
            Data = data;
            Width = width;
            Height = height;
            BytesPerPixel = bytesPerPixel;
        }
    }

    /// <summary>
    /// <c>postprocessing</c> of the manifest, the length of <c>skeleton.joints</c>, and <c>outputs[0].layout</c>.
    /// </summary>
    public sealed class Model
    {
        public Head Head;
        public Layout Layout;
        public int Joints, Heatmap, DepthBins;
        public double DepthScale = 1, DepthRangeMm = 2000;
    }

    /// <summary><c>postprocessing.scale</c> of the manifest: the size of a person's region by the pose.</summary>
    public sealed class Scale
    {
        public int[][] Edges;
        public double[] Flat, Deep;
        public double Size, Offset, Low, High;
    }

    /// <summary>
    /// Pre- and postprocessing of edgepose models, in C# 7 without dependencies, for .NET, Mono and Unity.
    /// </summary>
    /// <remarks>
    /// The methods follow docs/decoder.md of edgepose, as the decoders in other languages do, and give the same results. The
    /// settings come from the manifest.json of a bundle.
    /// <code>
    /// var region = EdgeposeDecoder.RegionOfBox(x, y, w, h, image.Width, image.Height, 1.25);
    /// byte[] rgb = EdgeposeDecoder.SampleRegion(image, region, size, Border.Black);
    /// // run the model on EdgeposeDecoder.Normalise(rgb, mean, std, Layout.Nchw)
    /// Point3[] joints = EdgeposeDecoder.Decode(raw, model, out double[] confidence);
    /// Point3[] px = EdgeposeDecoder.ToPhoto(joints, region, model.DepthRangeMm);
    /// Point3[] mm = EdgeposeDecoder.ToCamera(px, region.RootDepth(focal), focal, image.Width / 2.0, image.Height / 2.0);
    /// </code>
    /// </remarks>
    public static class EdgeposeDecoder
    {
        const double LeastConfidence = 1e-6; // added to confidences before the logarithm
        const double DepthUnitMm = 500; // of depth differences in the regression of the scale
        const int SimccSplit = 2; // bins per heatmap cell along x and y

        /// <summary>Returns the upright square around a person's box in px, after it is clipped to the image.</summary>
        /// <exception cref="ArgumentException">less than 1 px of the box is inside the image</exception>
        public static Region RegionOfBox(double x, double y, double w, double h, int width, int height, double padding)
        {
            double left = Math.Max(x, 0), top = Math.Max(y, 0);
            double inW = Math.Min(x + w, width) - left, inH = Math.Min(y + h, height) - top;
            if (!(inW >= 1 && inH >= 1)) throw new ArgumentException("less than 1 px of the box is inside the image");
            return new Region(left + inW / 2, top + inH / 2, Math.Max(inW, inH) * padding);
        }

        /// <summary>Returns the region for the next frame of a video, by the joints (px) of a person in this one.</summary>
        /// <remarks>hips, shoulders, reach, scale: <c>preprocessing.roi</c> of the manifest.</remarks>
        public static Region RegionOfJoints(Point3[] joints, int[] hips, int[] shoulders, double reach, double scale)
        {
            double x = 0, y = 0, upX = 0, upY = 0, largest = 0;
            foreach (int hip in hips)
            {
                x += joints[hip].X / hips.Length;
                y += joints[hip].Y / hips.Length;
            }
            foreach (int shoulder in shoulders)
            {
                upX += joints[shoulder].X / shoulders.Length;
                upY += joints[shoulder].Y / shoulders.Length;
            }
            foreach (Point3 joint in joints)
            {
                largest = Math.Max(largest, (joint.X - x) * (joint.X - x) + (joint.Y - y) * (joint.Y - y));
            }
            return new Region(x, y, scale * reach * Math.Sqrt(largest), Math.Atan2(upX - x, y - upY));
        }

        /// <summary>
        /// Returns the region of a detection by MediaPipe's pose detector: centre of the hips, and the point above it on the
        /// circle around the person, px.
        /// </summary>
        public static Region RegionOfCircle(double hipsX, double hipsY, double rimX, double rimY, double scale = 2.5)
        {
            double x = rimX - hipsX, y = rimY - hipsY;
            return new Region(hipsX, hipsY, scale * Math.Sqrt(x * x + y * y), Math.Atan2(x, -y));
        }

        /// <summary>Scales a region of an image to size x size px by area averaging.</summary>
        /// <remarks>Integers make the result equal in all languages.</remarks>
        /// <returns>RGB values, rows first (size * size * 3)</returns>
        public static byte[] SampleRegion(PixelImage image, Region region, int size, Border border)
        {
            double step = region.Side / size, half = region.Side / 2;
            double cos = Math.Cos(region.Rotation), sin = Math.Sin(region.Rotation);
            int fine = SamplesPerPx(image, step), whole = 65536 * fine * fine;
            var rgb = new byte[3 * size * size];
            var sums = new int[3]; // at most 255 * 65536 * 64, below 2^31
            for (int cell = 0; cell < size * size; cell++)
            {
                int row = cell / size, column = cell % size;
                Array.Clear(sums, 0, 3);
                for (int atRow = row * fine; atRow < (row + 1) * fine; atRow++)
                {
                    for (int atColumn = column * fine; atColumn < (column + 1) * fine; atColumn++)
                    {
                        double u = (atColumn + 0.5) * (step / fine) - half, v = (atRow + 0.5) * (step / fine) - half;
                        int x = Fixed(region.X + cos * u - sin * v, image.Width);
                        int y = Fixed(region.Y + sin * u + cos * v, image.Height);
                        AddSample(image, x, y, border, sums);
                    }
                }
                for (int channel = 0; channel < 3; channel++)
                {
                    rgb[3 * cell + channel] = (byte)((sums[channel] + whole / 2) / whole);
                }
            }
            return rgb;
        }

        /// <summary>Adds a sample at a place in 1/256 px, weighted with 65536, to the sums of R, G and B.</summary>
        static void AddSample(PixelImage image, int atX, int atY, Border border, int[] sums)
        {
            int x = atX >> 8, y = atY >> 8, shareX = atX & 255, shareY = atY & 255;
            for (int tap = 0; tap < 4; tap++)
            {
                int px = x + (tap & 1), py = y + (tap >> 1);
                int weight = ((tap & 1) == 1 ? shareX : 256 - shareX) * (tap >> 1 == 1 ? shareY : 256 - shareY);
                if (px < 0 || px >= image.Width || py < 0 || py >= image.Height)
                {
                    if (border == Border.Black) continue;
                    px = Math.Min(Math.Max(px, 0), image.Width - 1);
                    py = Math.Min(Math.Max(py, 0), image.Height - 1);
                }
                int from = (py * image.Width + px) * image.BytesPerPixel;
                for (int channel = 0; channel < 3; channel++) sums[channel] += weight * image.Data[from + channel];
            }
        }

        /// <summary>Returns how many samples a px of the crop averages along an axis; small images get finer ones.</summary>
        static int SamplesPerPx(PixelImage image, double shrink)
        {
            bool small = Math.Min(image.Width, image.Height) <= 256;
            double fine = small ? Math.Round(shrink, MidpointRounding.ToEven) : Math.Floor(shrink * 1.1);
            return (int)Math.Min(Math.Max(fine, 1), 8);
        }

        /// <summary>Returns a place in 1/256 px from the centre of pixel 0; places far outside are moved nearer.</summary>
        static int Fixed(double at, int count)
        {
            return (int)Math.Floor((Math.Min(Math.Max(at, -2), count + 2) - 0.5) * 256 + 0.5);
        }

        /// <summary>
        /// Returns a crop as the model's float32 input, (value / 255 - mean) / std. A model with uint8 input receives the crop.
        /// </summary>
        /// <remarks>mean, std: <c>preprocessing</c> of the manifest.</remarks>
        public static float[] Normalise(byte[] rgb, double[] mean, double[] std, Layout layout)
        {
            int area = rgb.Length / 3;
            var input = new float[rgb.Length];
            for (int at = 0; at < rgb.Length; at++)
            {
                int channel = at % 3;
                input[layout == Layout.Nhwc ? at : channel * area + at / 3] =
                    (float)((rgb[at] / 255.0 - mean[channel]) / std[channel]);
            }
            return input;
        }

        /// <summary>Decodes the raw output of a model.</summary>
        /// <param name="confidence">the largest probability of one cell in the image plane, for each joint</param>
        /// <returns>x and y as fractions of the crop, z as a fraction of the depth range</returns>
        public static Point3[] Decode(float[] raw, Model model, out double[] confidence)
        {
            var joints = new Point3[model.Joints];
            confidence = new double[model.Joints];
            for (int joint = 0; joint < model.Joints; joint++)
            {
                joints[joint] = model.Head == Head.Simcc
                    ? DecodeSimcc(raw, model, joint, out confidence[joint])
                    : DecodeMaps(raw, model, joint, out confidence[joint]);
            }
            return joints;
        }

        static Point3 DecodeMaps(float[] raw, Model model, int joint, out double confidence)
        {
            bool volumetric = model.Head == Head.Volumetric, last = model.Layout == Layout.Nhwc;
            int cells = model.Heatmap, area = cells * cells, bins = volumetric ? model.DepthBins : 1;
            int channels = model.Joints * (volumetric ? bins : 2);
            int cellStep = last ? channels : 1, channelStep = last ? 1 : area;
            double highest = double.NegativeInfinity;
            for (int bin = 0; bin < bins; bin++)
            {
                for (int cell = 0; cell < area; cell++)
                {
                    highest = Math.Max(highest, raw[(joint * bins + bin) * channelStep + cell * cellStep]);
                }
            }
            double sum = 0, x = 0, y = 0, z = 0, peak = 0;
            for (int cell = 0; cell < area; cell++)
            {
                double column = 0;
                for (int bin = 0; bin < bins; bin++)
                {
                    double weight = Math.Exp(raw[(joint * bins + bin) * channelStep + cell * cellStep] - highest);
                    double depth = volumetric
                        ? Centre(bin, bins)
                        : raw[(model.Joints + joint) * channelStep + cell * cellStep];
                    column += weight;
                    z += weight * depth;
                }
                sum += column;
                x += column * Centre(cell % cells, cells);
                y += column * Centre(cell / cells, cells);
                peak = Math.Max(peak, column);
            }
            confidence = peak / sum;
            return new Point3(x / sum, y / sum, volumetric ? z / sum : z / sum / model.DepthScale + 0.5);
        }

        static Point3 DecodeSimcc(float[] raw, Model model, int joint, out double confidence)
        {
            int fine = SimccSplit * model.Heatmap, start = joint * (2 * fine + model.DepthBins);
            double x = SoftArgmax(raw, start, fine, out double peakX);
            double y = SoftArgmax(raw, start + fine, fine, out double peakY);
            confidence = peakX * peakY;
            return new Point3(x, y, SoftArgmax(raw, start + 2 * fine, model.DepthBins, out double _));
        }

        /// <summary>Returns the soft-argmax of count scores as a fraction.</summary>
        static double SoftArgmax(float[] raw, int start, int count, out double peak)
        {
            double highest = double.NegativeInfinity, sum = 0, mean = 0;
            for (int index = 0; index < count; index++) highest = Math.Max(highest, raw[start + index]);
            for (int index = 0; index < count; index++)
            {
                double weight = Math.Exp(raw[start + index] - highest);
                sum += weight;
                mean += weight * Centre(index, count);
            }
            peak = 1 / sum;
            return mean / sum;
        }

        static double Centre(int cell, int cells) => (cell + 0.5) / cells;

        /// <summary>
        /// Returns the probability that the crop shows a person. scale, offset: <c>confidence.presence</c> of the manifest.
        /// </summary>
        public static double Presence(double[] confidence, double scale, double offset)
        {
            double sum = 0;
            foreach (double value in confidence) sum += Math.Log(value + LeastConfidence);
            return Sigmoid(scale * sum / confidence.Length + offset);
        }

        /// <summary>Returns the probability of each joint that it is in the image and not covered.</summary>
        /// <param name="lines">scale and offset of each joint, <c>confidence.visibility</c> of the manifest</param>
        public static double[] Visibility(double[] confidence, double[][] lines)
        {
            var result = new double[confidence.Length];
            for (int joint = 0; joint < confidence.Length; joint++)
            {
                result[joint] = Sigmoid(lines[joint][0] * Math.Log(confidence[joint] + LeastConfidence) + lines[joint][1]);
            }
            return result;
        }

        static double Sigmoid(double logit) => 1 / (1 + Math.Exp(-logit));

        /// <summary>Returns the size of the region's side at the distance of the root joint in mm, by decoded joints.</summary>
        public static double MmPerSide(Point3[] joints, Scale scale, double depthRangeMm)
        {
            double x = 0, y = 0, squares = 0;
            foreach (Point3 joint in joints)
            {
                x += joint.X / joints.Length;
                y += joint.Y / joints.Length;
            }
            foreach (Point3 joint in joints) squares += (joint.X - x) * (joint.X - x) + (joint.Y - y) * (joint.Y - y);
            double extent = Math.Sqrt(squares / joints.Length), logMm = scale.Offset + scale.Size * Math.Log(extent);
            for (int edge = 0; edge < scale.Edges.Length; edge++)
            {
                Point3 first = joints[scale.Edges[edge][0]], second = joints[scale.Edges[edge][1]];
                double across = first.X - second.X, down = first.Y - second.Y;
                logMm += scale.Flat[edge] * Math.Sqrt(across * across + down * down) / extent;
                logMm += scale.Deep[edge] * Math.Abs(first.Z - second.Z) * depthRangeMm / DepthUnitMm;
            }
            return Math.Exp(Math.Min(Math.Max(logMm, scale.Low), scale.High));
        }

        /// <summary>Converts decoded joints to px and px of the image, and mm behind the root joint.</summary>
        public static Point3[] ToPhoto(Point3[] joints, Region region, double depthRangeMm)
        {
            double cos = Math.Cos(region.Rotation), sin = Math.Sin(region.Rotation);
            return Array.ConvertAll(joints, joint =>
            {
                double u = (joint.X - 0.5) * region.Side, v = (joint.Y - 0.5) * region.Side;
                return new Point3(
                    region.X + cos * u - sin * v, region.Y + sin * u + cos * v, (joint.Z - 0.5) * depthRangeMm);
            });
        }

        /// <summary>Converts joints in px, px and mm to camera coordinates in mm: x right, y down, z forward.</summary>
        /// <param name="rootDepthMm">distance of the root joint along z</param>
        /// <param name="focal">focal length, px; the longer side of the image if unknown</param>
        /// <param name="centreX">principal point, px; the centre of the image if unknown</param>
        /// <param name="centreY">principal point, px</param>
        public static Point3[] ToCamera(
            Point3[] joints, double rootDepthMm, double focal, double centreX, double centreY)
        {
            return Array.ConvertAll(joints, joint =>
            {
                double z = joint.Z + rootDepthMm;
                return new Point3((joint.X - centreX) / focal * z, (joint.Y - centreY) / focal * z, z);
            });
        }
    }

    /// <summary>
    /// One-Euro filter (Casiez, Roussel and Vogel 2012) of the points of one person: less jitter at rest, little lag in motion.
    /// </summary>
    /// <remarks>A point passes a low-pass filter whose cutoff frequency grows with its speed.</remarks>
    public sealed class OneEuro
    {
        readonly double minCutoff, beta, speedCutoff;
        double timeS = double.NaN;
        Point3[] points = new Point3[0], velocity = new Point3[0];

        /// <param name="minCutoff">cutoff frequency at rest, Hz</param>
        /// <param name="beta">growth of the cutoff frequency, Hz for a speed of one scale per second</param>
        /// <param name="speedCutoff">cutoff frequency of the speed, Hz</param>
        public OneEuro(double minCutoff = 0.5, double beta = 10, double speedCutoff = 1)
        {
            this.minCutoff = minCutoff;
            this.beta = beta;
            this.speedCutoff = speedCutoff;
        }

        /// <summary>
        /// Returns smoothed points. The first points, and those of a time that does not increase, stay as they are. For points in
        /// a plane, set Z to 0.
        /// </summary>
        /// <param name="time">of the frame, s</param>
        /// <param name="scale">size of the person in the unit of the points: the side of the region</param>
        public Point3[] Filter(Point3[] given, double time, double scale)
        {
            double elapsed = time - timeS;
            timeS = time;
            if (given.Length != points.Length || !(elapsed > 0))
            {
                points = (Point3[])given.Clone();
                velocity = new Point3[given.Length];
                return given;
            }
            double share = LowPass(speedCutoff, elapsed);
            for (int index = 0; index < given.Length; index++)
            {
                Point3 last = points[index], now = given[index], old = velocity[index];
                velocity[index] = old = new Point3(
                    old.X + share * ((now.X - last.X) / elapsed - old.X),
                    old.Y + share * ((now.Y - last.Y) / elapsed - old.Y),
                    old.Z + share * ((now.Z - last.Z) / elapsed - old.Z));
                double speed = Math.Sqrt(old.X * old.X + old.Y * old.Y + old.Z * old.Z) / scale;
                double weight = LowPass(minCutoff + beta * speed, elapsed);
                points[index] = new Point3(
                    last.X + weight * (now.X - last.X),
                    last.Y + weight * (now.Y - last.Y),
                    last.Z + weight * (now.Z - last.Z));
            }
            return (Point3[])points.Clone();
        }

        /// <summary>Returns the weight of a new value in a low-pass filter.</summary>
        static double LowPass(double cutoff, double elapsed)
        {
            double turn = 2 * Math.PI * cutoff * elapsed;
            return turn / (turn + 1);
        }
    }
}
