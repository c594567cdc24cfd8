/* Applies the decoder to case files (see tests/quantize/test_sdk.py) and prints the results, one number a line. */
#include <stdio.h>
#include <stdlib.h>

#define EDGEPOSE_DECODER_IMPLEMENTATION
#include "edgepose_decoder.h"

static FILE *file;

static double next(void) {
  double value;
  if (fscanf(file, "%lf", &value) != 1) exit(3);
  return value;
}

static int whole(void) { return (int)next(); }

static void *space(size_t bytes) {
  void *made = malloc(bytes);
  if (!made) exit(4);
  return made;
}

static void show_region(edgepose_region region) {
  printf("%.12g\n%.12g\n%.12g\n%.12g\n", region.x, region.y, region.side, region.rotation);
}

static void show_joints(const edgepose_joint *joints, int count, int confidence) {
  int index;
  for (index = 0; index < count; index++) {
    printf("%.12g\n%.12g\n%.12g\n", joints[index].x, joints[index].y, joints[index].z);
    if (confidence) printf("%.12g\n", joints[index].confidence);
  }
}

static const int edges[3][2] = {{0, 1}, {1, 2}, {0, 3}};
static const double flat[3] = {-0.3, 0.1, 0.05}, deep[3] = {0.05, -0.2, 0.01};
static const edgepose_scale scale = {edges, flat, deep, 3, -0.4, 7.5, 6.5, 8.5};

static void show_case(void) {
  edgepose_image image;
  edgepose_region region, boxed;
  edgepose_model model;
  edgepose_roi roi;
  edgepose_one_euro filter;
  edgepose_joint joints[EDGEPOSE_MAX_JOINTS], moved[EDGEPOSE_MAX_JOINTS];
  double box[4], mean[3], std[3], padding, root_depth, focal, centre_x, centre_y;
  int index, frame, count, size, border, joint_of[2][8];
  unsigned char *pixels, *rgb;
  float *raw, *input;
  image.width = whole();
  image.height = whole();
  image.bytes_per_pixel = 3;
  image.stride = 3 * image.width;
  size = whole();
  border = whole();
  region.x = next();
  region.y = next();
  region.side = next();
  region.rotation = next();
  for (index = 0; index < 4; index++) box[index] = next();
  padding = next();
  model.head = (edgepose_head)whole();
  model.layout = (edgepose_layout)whole();
  model.joints = whole();
  model.heatmap = whole();
  model.depth_bins = whole();
  model.depth_scale = next();
  model.depth_range_mm = next();
  root_depth = next();
  focal = next();
  centre_x = next();
  centre_y = next();
  for (index = 0; index < 3; index++) mean[index] = next();
  for (index = 0; index < 3; index++) std[index] = next();
  roi.hip_count = whole();
  for (index = 0; index < roi.hip_count; index++) joint_of[0][index] = whole();
  roi.shoulder_count = whole();
  for (index = 0; index < roi.shoulder_count; index++) joint_of[1][index] = whole();
  roi.hips = joint_of[0];
  roi.shoulders = joint_of[1];
  roi.reach = next();
  roi.scale = next();
  pixels = (unsigned char *)space((size_t)image.stride * image.height);
  for (index = 0; index < image.stride * image.height; index++) pixels[index] = (unsigned char)whole();
  image.data = pixels;
  count = whole();
  raw = (float *)space(count * sizeof(float));
  for (index = 0; index < count; index++) raw[index] = (float)next();

  if (edgepose_region_of_box(box, image.width, image.height, padding, &boxed)) exit(5);
  show_region(boxed);
  rgb = (unsigned char *)space((size_t)3 * size * size);
  edgepose_sample_region(&image, &region, size, (edgepose_border)border, rgb);
  for (index = 0; index < 3 * size * size; index++) printf("%d\n", rgb[index]);
  input = (float *)space(3 * sizeof(float) * size * size);
  edgepose_normalise(rgb, size, mean, std, model.layout, input);
  for (index = 0; index < 3 * size * size; index++) printf("%.9g\n", input[index]);
  edgepose_decode(raw, &model, joints);
  show_joints(joints, model.joints, 1);
  printf("%.12g\n", edgepose_presence(joints, model.joints, 2.5, 6));
  for (index = 0; index < model.joints; index++) {
    printf("%.12g\n", edgepose_visibility(joints[index].confidence, 1.5 + 0.25 * index, 4 - 0.5 * index));
  }
  printf("%.12g\n", edgepose_mm_per_side(joints, model.joints, &scale, model.depth_range_mm));
  edgepose_to_photo(joints, model.joints, &region, model.depth_range_mm);
  show_joints(joints, model.joints, 0);
  show_region(edgepose_region_of_joints(joints, model.joints, &roi));
  show_region(edgepose_region_of_circle(joints[0].x, joints[0].y, joints[1].x, joints[1].y, 2.5));
  printf("%.12g\n", edgepose_root_depth(&region, focal));
  edgepose_to_camera(joints, model.joints, root_depth, focal, centre_x, centre_y);
  show_joints(joints, model.joints, 0);
  edgepose_one_euro_init(&filter, 0.5, 10, 1);
  for (frame = 0; frame < 20; frame++) {
    for (index = 0; index < model.joints; index++) {
      moved[index] = joints[index];
      moved[index].x += 30 * sin(0.7 * frame + index);
      moved[index].y += 30 * sin(0.7 * frame + index + 1);
      moved[index].z += 30 * sin(0.7 * frame + index + 2);
    }
    edgepose_one_euro_filter(&filter, moved, model.joints, 3, (frame == 7 ? 6 : frame) / 30.0, 2000);
  }
  show_joints(moved, model.joints, 0);
  free(pixels);
  free(rgb);
  free(raw);
  free(input);
}

int main(int argc, char **argv) {
  int argument;
  for (argument = 1; argument < argc; argument++) {
    file = fopen(argv[argument], "r");
    if (!file) return 2;
    show_case();
    fclose(file);
  }
  return 0;
}
