using System;
using System.Globalization;
using System.IO;
using System.Text;
using Edgepose;

/// <summary>Applies the decoder to case files (see tests/quantize/test_sdk.py) and prints the results, one number a line.</summary>
static class Driver
{
    static string[] words;
    static int at;
    static readonly StringBuilder lines = new StringBuilder();

    static double Next() => double.Parse(words[at++], CultureInfo.InvariantCulture);

    static int Whole() => (int)Next();

    static double[] Several(int count)
    {
        var values = new double[count];
        for (int index = 0; index < count; index++) values[index] = Next();
        return values;
    }

    static int[] Indices() => Array.ConvertAll(Several(Whole()), value => (int)value);

    static void Show(params double[] values)
    {
        foreach (double value in values) lines.Append(value.ToString("G12", CultureInfo.InvariantCulture)).Append('\n');
    }

    static void Show(Region region) => Show(region.X, region.Y, region.Side, region.Rotation);

    static void Show(Point3 point) => Show(point.X, point.Y, point.Z);

    static void Main(string[] paths)
    {
        foreach (string path in paths)
        {
            words = File.ReadAllText(path).Split(new[] { ' ', '\n' }, StringSplitOptions.RemoveEmptyEntries);
            at = 0;
            ShowCase();
        }
        Console.Write(lines);
    }

    static void ShowCase()
    {
        int width = Whole(), height = Whole(), size = Whole();
        var border = (Border)Whole();
        var region = new Region(Next(), Next(), Next(), Next());
        double[] box = Several(4);
        double padding = Next();
        var model = new Model
        {
            Head = (Head)Whole(), Layout = (Layout)Whole(), Joints = Whole(), Heatmap = Whole(), DepthBins = Whole(),
            DepthScale = Next(), DepthRangeMm = Next(),
        };
        double rootDepth = Next(), focal = Next(), centreX = Next(), centreY = Next();
        double[] mean = Several(3), std = Several(3);
        int[] hips = Indices(), shoulders = Indices();
        double reach = Next(), scale = Next();
        var image = new PixelImage(Array.ConvertAll(Several(3 * width * height), value => (byte)value), width, height, 3);
        float[] raw = Array.ConvertAll(Several(Whole()), value => (float)value);

        Show(EdgeposeDecoder.RegionOfBox(box[0], box[1], box[2], box[3], width, height, padding));
        byte[] rgb = EdgeposeDecoder.SampleRegion(image, region, size, border);
        foreach (byte value in rgb) Show(value);
        foreach (float value in EdgeposeDecoder.Normalise(rgb, mean, std, model.Layout)) Show(value);
        Point3[] joints = EdgeposeDecoder.Decode(raw, model, out double[] confidence);
        for (int joint = 0; joint < model.Joints; joint++)
        {
            Show(joints[joint]);
            Show(confidence[joint]);
        }
        Show(EdgeposeDecoder.Presence(confidence, 2.5, 6));
        var lines = new double[model.Joints][];
        for (int joint = 0; joint < lines.Length; joint++) lines[joint] = new[] { 1.5 + 0.25 * joint, 4 - 0.5 * joint };
        Show(EdgeposeDecoder.Visibility(confidence, lines));
        var fitted = new Scale
        {
            Edges = new[] { new[] { 0, 1 }, new[] { 1, 2 }, new[] { 0, 3 } }, Flat = new[] { -0.3, 0.1, 0.05 },
            Deep = new[] { 0.05, -0.2, 0.01 }, Size = -0.4, Offset = 7.5, Low = 6.5, High = 8.5,
        };
        Show(EdgeposeDecoder.MmPerSide(joints, fitted, model.DepthRangeMm));
        Point3[] px = EdgeposeDecoder.ToPhoto(joints, region, model.DepthRangeMm);
        foreach (Point3 joint in px) Show(joint);
        Show(EdgeposeDecoder.RegionOfJoints(px, hips, shoulders, reach, scale));
        Show(EdgeposeDecoder.RegionOfCircle(px[0].X, px[0].Y, px[1].X, px[1].Y));
        Show(region.RootDepth(focal));
        Point3[] mm = EdgeposeDecoder.ToCamera(px, rootDepth, focal, centreX, centreY);
        foreach (Point3 joint in mm) Show(joint);
        var filter = new OneEuro();
        Point3[] moved = mm;
        for (int frame = 0; frame < 20; frame++)
        {
            var points = new Point3[mm.Length];
            for (int index = 0; index < mm.Length; index++)
            {
                points[index] = new Point3(
                    mm[index].X + 30 * Math.Sin(0.7 * frame + index),
                    mm[index].Y + 30 * Math.Sin(0.7 * frame + index + 1),
                    mm[index].Z + 30 * Math.Sin(0.7 * frame + index + 2));
            }
            moved = filter.Filter(points, (frame == 7 ? 6 : frame) / 30.0, 2000);
        }
        foreach (Point3 joint in moved) Show(joint);
    }
}
