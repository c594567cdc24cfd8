import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.StringTokenizer;

/** Applies the decoder to case files (see tests/quantize/test_sdk.py) and prints the results, one number a line. */
public final class Driver {
    private static final EdgeposeDecoder.Scale SCALE = new EdgeposeDecoder.Scale(
            new int[][] {{0, 1}, {1, 2}, {0, 3}}, new double[] {-0.3, 0.1, 0.05}, new double[] {0.05, -0.2, 0.01},
            -0.4, 7.5, 6.5, 8.5);
    private static StringTokenizer words;
    private static final StringBuilder lines = new StringBuilder();

    private static double next() {
        return Double.parseDouble(words.nextToken());
    }

    private static int whole() {
        return (int) next();
    }

    private static double[] several(int count) {
        double[] values = new double[count];
        for (int index = 0; index < count; index++) values[index] = next();
        return values;
    }

    private static int[] indices() {
        int[] values = new int[whole()];
        for (int index = 0; index < values.length; index++) values[index] = whole();
        return values;
    }

    private static void show(double... values) {
        for (double value : values) lines.append(value).append('\n');
    }

    private static void show(EdgeposeDecoder.Region region) {
        show(region.x, region.y, region.side, region.rotation);
    }

    public static void main(String[] paths) throws IOException {
        for (String path : paths) {
            words = new StringTokenizer(new String(Files.readAllBytes(Paths.get(path)), "US-ASCII"));
            showCase();
        }
        System.out.print(lines);
    }

    private static void showCase() {
        int width = whole(), height = whole(), size = whole();
        EdgeposeDecoder.Border border = EdgeposeDecoder.Border.values()[whole()];
        EdgeposeDecoder.Region region = new EdgeposeDecoder.Region(next(), next(), next(), next());
        double[] box = several(4);
        double padding = next();
        EdgeposeDecoder.Head head = EdgeposeDecoder.Head.values()[whole()];
        EdgeposeDecoder.Layout layout = EdgeposeDecoder.Layout.values()[whole()];
        EdgeposeDecoder.Model model =
                new EdgeposeDecoder.Model(head, layout, whole(), whole(), whole(), next(), next());
        double rootDepth = next(), focal = next(), centreX = next(), centreY = next();
        double[] mean = several(3), std = several(3);
        int[] hips = indices(), shoulders = indices();
        double reach = next(), scale = next();
        int[] argb = new int[width * height];
        for (int index = 0; index < argb.length; index++) argb[index] = 255 << 24 | whole() << 16 | whole() << 8 | whole();
        float[] raw = new float[whole()];
        for (int index = 0; index < raw.length; index++) raw[index] = (float) next();

        show(EdgeposeDecoder.regionOfBox(box[0], box[1], box[2], box[3], width, height, padding));
        byte[] rgb = EdgeposeDecoder.sampleRegion(argb, width, height, region, size, border);
        for (byte value : rgb) show(value & 255);
        for (float value : EdgeposeDecoder.normalise(rgb, mean, std, layout)) show(value);
        EdgeposeDecoder.Pose pose = EdgeposeDecoder.decode(raw, model);
        for (int joint = 0; joint < model.joints; joint++) {
            show(pose.joints[joint]);
            show(pose.confidence[joint]);
        }
        show(EdgeposeDecoder.presence(pose.confidence, 2.5, 6));
        double[][] lines = new double[model.joints][];
        for (int joint = 0; joint < lines.length; joint++) lines[joint] = new double[] {1.5 + 0.25 * joint, 4 - 0.5 * joint};
        show(EdgeposeDecoder.visibility(pose.confidence, lines));
        show(SCALE.mmPerSide(pose.joints, model.depthRangeMm));
        double[][] px = EdgeposeDecoder.toPhoto(pose.joints, region, model.depthRangeMm);
        for (double[] joint : px) show(joint);
        show(EdgeposeDecoder.regionOfJoints(px, hips, shoulders, reach, scale));
        show(EdgeposeDecoder.regionOfCircle(px[0][0], px[0][1], px[1][0], px[1][1], 2.5));
        show(region.rootDepth(focal));
        double[][] mm = EdgeposeDecoder.toCamera(px, rootDepth, focal, centreX, centreY);
        for (double[] joint : mm) show(joint);
        EdgeposeDecoder.OneEuro filter = new EdgeposeDecoder.OneEuro();
        double[][] moved = mm;
        for (int frame = 0; frame < 20; frame++) {
            double[][] points = new double[mm.length][3];
            for (int index = 0; index < mm.length; index++) {
                for (int axis = 0; axis < 3; axis++) {
                    points[index][axis] = mm[index][axis] + 30 * Math.sin(0.7 * frame + index + axis);
                }
            }
            moved = filter.filter(points, (frame == 7 ? 6 : frame) / 30.0, 2000);
        }
        for (double[] joint : moved) show(joint);
    }
}
