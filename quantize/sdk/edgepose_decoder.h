/* Pre- and postprocessing of edgepose models, in C99 and C++ without dependencies or dynamic memory.
 *
 * Copyright 2026 the edgepose authors. Licence: Apache-2.0.
 *
 * The functions follow docs/decoder.md of edgepose, as the decoders in other languages do, and give the same results. The
 * settings come from the manifest.json of a bundle. In one source file of your program, define
 * EDGEPOSE_DECODER_IMPLEMENTATION before including this file. Link with -lm.
 *
 *   edgepose_region region;
 *   if (edgepose_region_of_box(box, image.width, image.height, 1.25, &region)) return;     // nothing is inside
 *   edgepose_sample_region(&image, &region, size, EDGEPOSE_BLACK, rgb);
 *   edgepose_normalise(rgb, size, mean, std, EDGEPOSE_NHWC, input);                        // for a float32 input
 *   // run the model
 *   edgepose_decode(raw, &model, joints);                                                  // fractions
 *   edgepose_to_photo(joints, model.joints, &region, model.depth_range_mm);                // px, px, mm
 *   edgepose_to_camera(joints, model.joints, edgepose_root_depth(&region, focal), focal, width / 2.0, height / 2.0);
 */
#ifndef EDGEPOSE_DECODER_H
#define EDGEPOSE_DECODER_H

#ifdef __cplusplus
extern "C" {
#endif

#ifndef EDGEPOSE_MAX_JOINTS
#define EDGEPOSE_MAX_JOINTS 64 /* of a One-Euro filter */
#endif

/* A square region of an image: centre in px, side in px, clockwise angle in rad. */
typedef struct {
  double x, y, side, rotation;
} edgepose_region;

/* An image of 8 bits a channel, whose first three bytes of a pixel are R, G and B. stride: bytes from row to row. */
typedef struct {
  const unsigned char *data;
  int width, height, bytes_per_pixel, stride;
} edgepose_image;

/* A joint with its confidence, the largest probability of one cell in the image plane. The meaning of x, y and z depends
 * on the last function that was applied. */
typedef struct {
  double x, y, z, confidence;
} edgepose_joint;

typedef enum { EDGEPOSE_BLACK, EDGEPOSE_REPLICATE } edgepose_border; /* of a crop beyond the image */
typedef enum { EDGEPOSE_VOLUMETRIC, EDGEPOSE_HEATMAP_25D, EDGEPOSE_SIMCC } edgepose_head;
typedef enum { EDGEPOSE_NHWC, EDGEPOSE_NCHW } edgepose_layout; /* ignored for the raw output of simcc */

/* `postprocessing` of the manifest, the length of `skeleton.joints`, and `outputs[0].layout`. */
typedef struct {
  edgepose_head head;
  edgepose_layout layout;
  int joints, heatmap, depth_bins;
  double depth_scale, depth_range_mm;
} edgepose_model;

/* `preprocessing.roi` of the manifest. */
typedef struct {
  const int *hips, *shoulders;
  int hip_count, shoulder_count;
  double reach, scale;
} edgepose_roi;

/* `postprocessing.scale` of the manifest. */
typedef struct {
  const int (*edges)[2];
  const double *flat, *deep;
  int edge_count;
  double size, offset, low, high;
} edgepose_scale;

/* State of a One-Euro filter of the points of one person. Initialise it with edgepose_one_euro_init. */
typedef struct {
  double min_cutoff, beta, speed_cutoff, time_s;
  int count;
  double points[EDGEPOSE_MAX_JOINTS][3], velocity[EDGEPOSE_MAX_JOINTS][3];
} edgepose_one_euro;

/* Set `region` to the upright square around a person's box (x, y, w, h px), after it is clipped to the image. Return 0, or
 * -1 if less than 1 px of the box is inside. */
int edgepose_region_of_box(const double box[4], int width, int height, double padding, edgepose_region *region);

/* Return the region for the next frame of a video, by the joints (px) of a person in this one. */
edgepose_region edgepose_region_of_joints(const edgepose_joint *joints, int count, const edgepose_roi *roi);

/* Return the region of a detection by MediaPipe's pose detector: centre of the hips, and the point above it on the circle
 * around the person, px. scale: 2.5 */
edgepose_region edgepose_region_of_circle(double hips_x, double hips_y, double rim_x, double rim_y, double scale);

/* Scale a region of an image to size x size px by area averaging. rgb: size * size * 3 bytes, rows first. Integers make the
 * result equal in all languages. */
void edgepose_sample_region(const edgepose_image *image, const edgepose_region *region, int size, edgepose_border border,
                            unsigned char *rgb);

/* Write a crop as the float32 input of a model, (value / 255 - mean) / std. A model with uint8 input receives the crop. */
void edgepose_normalise(const unsigned char *rgb, int size, const double mean[3], const double std[3],
                        edgepose_layout layout, float *input);

/* Decode the raw output of a model to its joints: x and y as fractions of the crop, z as a fraction of the depth range. */
void edgepose_decode(const float *raw, const edgepose_model *model, edgepose_joint *joints);

/* Return the probability that the crop shows a person, by the confidences of its joints. scale, offset:
 * `postprocessing.confidence.presence` */
double edgepose_presence(const edgepose_joint *joints, int count, double scale, double offset);

/* Return the probability that a joint is in the image and not covered. scale, offset: those of the joint in
 * `postprocessing.confidence.visibility` */
double edgepose_visibility(double confidence, double scale, double offset);

/* Return the size of the region's side at the distance of the root joint in mm, by decoded joints. */
double edgepose_mm_per_side(const edgepose_joint *joints, int count, const edgepose_scale *scale, double depth_range_mm);

/* Convert decoded joints to px and px of the image, and mm behind the root joint; in place. */
void edgepose_to_photo(edgepose_joint *joints, int count, const edgepose_region *region, double depth_range_mm);

/* Convert joints in px, px and mm to camera coordinates in mm, x right, y down, z forward; in place. root_depth_mm: distance
 * of the root joint along z; focal: px, the image's longer side if unknown; centre: principal point, px. */
void edgepose_to_camera(edgepose_joint *joints, int count, double root_depth_mm, double focal, double centre_x,
                        double centre_y);

/* Return an estimate of the distance of the root joint in mm: the region is assumed to be 2 m wide. */
double edgepose_root_depth(const edgepose_region *region, double focal);

/* Initialise a One-Euro filter (Casiez, Roussel and Vogel 2012): less jitter at rest, little lag in motion. min_cutoff: Hz
 * at rest (0.5); beta: Hz for a speed of one `scale` per second (10); speed_cutoff: Hz (1). */
void edgepose_one_euro_init(edgepose_one_euro *filter, double min_cutoff, double beta, double speed_cutoff);

/* Smooth x and y (dimensions 2), or x, y and z (3), of at most EDGEPOSE_MAX_JOINTS joints in place. The first joints, and
 * those of a time that does not increase, stay as they are. scale: size of the person in the unit of the joints, the side of
 * the region. */
void edgepose_one_euro_filter(edgepose_one_euro *filter, edgepose_joint *joints, int count, int dimensions, double time_s,
                              double scale);

#ifdef __cplusplus
}
#endif
#endif /* EDGEPOSE_DECODER_H */

#ifdef EDGEPOSE_DECODER_IMPLEMENTATION
#define EDGEPOSE_LEAST_CONFIDENCE 1e-6 /* added to confidences before the logarithm */
#define EDGEPOSE_DEPTH_UNIT_MM 500     /* of depth differences in the regression of the scale */
#include <math.h>
#include <stddef.h>

static double edgepose_clamp(double value, double low, double high) {
  return value < low ? low : value > high ? high : value;
}

static double edgepose_centre(int cell, int cells) { return (cell + 0.5) / cells; }

int edgepose_region_of_box(const double box[4], int width, int height, double padding, edgepose_region *region) {
  const double left = box[0] > 0 ? box[0] : 0, top = box[1] > 0 ? box[1] : 0;
  const double right = box[0] + box[2] < width ? box[0] + box[2] : width;
  const double bottom = box[1] + box[3] < height ? box[1] + box[3] : height;
  const double w = right - left, h = bottom - top;
  if (!(w >= 1 && h >= 1)) return -1;
  region->x = left + w / 2;
  region->y = top + h / 2;
  region->side = (w > h ? w : h) * padding;
  region->rotation = 0;
  return 0;
}

edgepose_region edgepose_region_of_circle(double hips_x, double hips_y, double rim_x, double rim_y, double scale) {
  const double x = rim_x - hips_x, y = rim_y - hips_y;
  edgepose_region region;
  region.x = hips_x;
  region.y = hips_y;
  region.side = scale * sqrt(x * x + y * y);
  region.rotation = atan2(x, -y);
  return region;
}

edgepose_region edgepose_region_of_joints(const edgepose_joint *joints, int count, const edgepose_roi *roi) {
  double x = 0, y = 0, up_x = 0, up_y = 0, largest = 0;
  edgepose_region region;
  int index;
  for (index = 0; index < roi->hip_count; index++) {
    x += joints[roi->hips[index]].x / roi->hip_count;
    y += joints[roi->hips[index]].y / roi->hip_count;
  }
  for (index = 0; index < roi->shoulder_count; index++) {
    up_x += joints[roi->shoulders[index]].x / roi->shoulder_count;
    up_y += joints[roi->shoulders[index]].y / roi->shoulder_count;
  }
  for (index = 0; index < count; index++) {
    const double dx = joints[index].x - x, dy = joints[index].y - y;
    if (dx * dx + dy * dy > largest) largest = dx * dx + dy * dy;
  }
  region.x = x;
  region.y = y;
  region.side = roi->scale * roi->reach * sqrt(largest);
  region.rotation = atan2(up_x - x, y - up_y);
  return region;
}

/* Return a place in 1/256 px from the centre of pixel 0; places far outside of `count` px are moved nearer. */
static long edgepose_fixed(double at, int count) {
  return (long)floor((edgepose_clamp(at, -2, count + 2.0) - 0.5) * 256 + 0.5);
}

/* Return how many samples a px of the crop averages along an axis; small images are sharper and get finer samples. */
static int edgepose_samples_per_px(const edgepose_image *image, double shrink) {
  const int smaller = image->width < image->height ? image->width : image->height;
  return (int)edgepose_clamp(smaller > 256 ? floor(shrink * 1.1) : rint(shrink), 1, 8);
}

/* Add a sample at a place in 1/256 px, weighted with 65536, to the sums of R, G and B. */
static void edgepose_add_sample(const edgepose_image *image, long at_x, long at_y, edgepose_border border, long sums[3]) {
  const long x = (at_x + 1024) / 256 - 4, y = (at_y + 1024) / 256 - 4; /* rounds down: places are above -1024 */
  const long share_x = at_x - 256 * x, share_y = at_y - 256 * y;
  int tap, channel;
  for (tap = 0; tap < 4; tap++) {
    long px = x + (tap & 1), py = y + (tap >> 1);
    const long weight = (tap & 1 ? share_x : 256 - share_x) * (tap >> 1 ? share_y : 256 - share_y);
    const unsigned char *pixel;
    if (px < 0 || px >= image->width || py < 0 || py >= image->height) {
      if (border == EDGEPOSE_BLACK) continue;
      px = px < 0 ? 0 : px >= image->width ? image->width - 1 : px;
      py = py < 0 ? 0 : py >= image->height ? image->height - 1 : py;
    }
    pixel = image->data + (size_t)py * image->stride + (size_t)px * image->bytes_per_pixel;
    for (channel = 0; channel < 3; channel++) sums[channel] += weight * pixel[channel];
  }
}

void edgepose_sample_region(const edgepose_image *image, const edgepose_region *region, int size, edgepose_border border,
                            unsigned char *rgb) {
  const double step = region->side / size, half = region->side / 2;
  const double cosine = cos(region->rotation), sine = sin(region->rotation);
  const int fine = edgepose_samples_per_px(image, step);
  const long whole = 65536L * fine * fine;
  int row, column, at_row, at_column, channel;
  for (row = 0; row < size; row++) {
    for (column = 0; column < size; column++) {
      long sums[3] = {0, 0, 0}; /* at most 255 * 65536 * 64, below 2^31 */
      for (at_row = row * fine; at_row < (row + 1) * fine; at_row++) {
        for (at_column = column * fine; at_column < (column + 1) * fine; at_column++) {
          const double u = (at_column + 0.5) * (step / fine) - half, v = (at_row + 0.5) * (step / fine) - half;
          edgepose_add_sample(image, edgepose_fixed(region->x + cosine * u - sine * v, image->width),
                              edgepose_fixed(region->y + sine * u + cosine * v, image->height), border, sums);
        }
      }
      for (channel = 0; channel < 3; channel++) {
        rgb[3 * ((size_t)row * size + column) + channel] = (unsigned char)((sums[channel] + whole / 2) / whole);
      }
    }
  }
}

void edgepose_normalise(const unsigned char *rgb, int size, const double mean[3], const double std[3],
                        edgepose_layout layout, float *input) {
  const size_t area = (size_t)size * size;
  size_t cell;
  int channel;
  for (cell = 0; cell < area; cell++) {
    for (channel = 0; channel < 3; channel++) {
      const size_t to = layout == EDGEPOSE_NHWC ? 3 * cell + channel : channel * area + cell;
      input[to] = (float)((rgb[3 * cell + channel] / 255.0 - mean[channel]) / std[channel]);
    }
  }
}

/* Return the value of a channel in a cell of the maps. */
static double edgepose_value(const float *raw, const edgepose_model *model, int channels, int channel, int cell) {
  const size_t area = (size_t)model->heatmap * model->heatmap;
  return raw[model->layout == EDGEPOSE_NHWC ? (size_t)cell * channels + channel : channel * area + cell];
}

static void edgepose_decode_maps(const float *raw, const edgepose_model *model, int joint, edgepose_joint *out) {
  const int volumetric = model->head == EDGEPOSE_VOLUMETRIC, cells = model->heatmap, area = cells * cells;
  const int bins = volumetric ? model->depth_bins : 1, channels = model->joints * (volumetric ? bins : 2);
  double highest = -HUGE_VAL, sum = 0, x = 0, y = 0, z = 0, peak = 0;
  int cell, bin;
  for (bin = 0; bin < bins; bin++) {
    for (cell = 0; cell < area; cell++) {
      const double score = edgepose_value(raw, model, channels, joint * bins + bin, cell);
      if (score > highest) highest = score;
    }
  }
  for (cell = 0; cell < area; cell++) {
    double column = 0;
    for (bin = 0; bin < bins; bin++) {
      const double weight = exp(edgepose_value(raw, model, channels, joint * bins + bin, cell) - highest);
      column += weight;
      z += weight * (volumetric ? edgepose_centre(bin, bins)
                                : edgepose_value(raw, model, channels, model->joints + joint, cell));
    }
    sum += column;
    x += column * edgepose_centre(cell % cells, cells);
    y += column * edgepose_centre(cell / cells, cells);
    if (column > peak) peak = column;
  }
  out->x = x / sum;
  out->y = y / sum;
  out->z = volumetric ? z / sum : z / sum / model->depth_scale + 0.5;
  out->confidence = peak / sum;
}

/* Return the soft-argmax of `count` scores as a fraction, and set the largest probability. */
static double edgepose_soft_argmax(const float *scores, int count, double *peak) {
  double highest = -HUGE_VAL, sum = 0, mean = 0;
  int index;
  for (index = 0; index < count; index++) {
    if (scores[index] > highest) highest = scores[index];
  }
  for (index = 0; index < count; index++) {
    const double weight = exp(scores[index] - highest);
    sum += weight;
    mean += weight * edgepose_centre(index, count);
  }
  *peak = 1 / sum;
  return mean / sum;
}

void edgepose_decode(const float *raw, const edgepose_model *model, edgepose_joint *joints) {
  const int fine = 2 * model->heatmap; /* bins of simcc along x and y */
  int joint;
  for (joint = 0; joint < model->joints; joint++) {
    edgepose_joint *out = joints + joint;
    if (model->head == EDGEPOSE_SIMCC) {
      const float *scores = raw + (size_t)joint * (2 * fine + model->depth_bins);
      double peak_x, peak_y, peak_z;
      out->x = edgepose_soft_argmax(scores, fine, &peak_x);
      out->y = edgepose_soft_argmax(scores + fine, fine, &peak_y);
      out->z = edgepose_soft_argmax(scores + 2 * fine, model->depth_bins, &peak_z);
      out->confidence = peak_x * peak_y;
    } else {
      edgepose_decode_maps(raw, model, joint, out);
    }
  }
}

double edgepose_visibility(double confidence, double scale, double offset) {
  return 1 / (1 + exp(-(scale * log(confidence + EDGEPOSE_LEAST_CONFIDENCE) + offset)));
}

double edgepose_presence(const edgepose_joint *joints, int count, double scale, double offset) {
  double sum = 0;
  int index;
  for (index = 0; index < count; index++) sum += log(joints[index].confidence + EDGEPOSE_LEAST_CONFIDENCE);
  return 1 / (1 + exp(-(scale * sum / count + offset)));
}

double edgepose_mm_per_side(const edgepose_joint *joints, int count, const edgepose_scale *scale, double depth_range_mm) {
  double x = 0, y = 0, size = 0, log_mm;
  int index;
  for (index = 0; index < count; index++) {
    x += joints[index].x / count;
    y += joints[index].y / count;
  }
  for (index = 0; index < count; index++) {
    size += ((joints[index].x - x) * (joints[index].x - x) + (joints[index].y - y) * (joints[index].y - y)) / count;
  }
  size = sqrt(size);
  log_mm = scale->offset + scale->size * log(size);
  for (index = 0; index < scale->edge_count; index++) {
    const edgepose_joint *first = &joints[scale->edges[index][0]], *second = &joints[scale->edges[index][1]];
    const double across = first->x - second->x, down = first->y - second->y;
    log_mm += scale->flat[index] * sqrt(across * across + down * down) / size;
    log_mm += scale->deep[index] * fabs(first->z - second->z) * depth_range_mm / EDGEPOSE_DEPTH_UNIT_MM;
  }
  return exp(fmin(fmax(log_mm, scale->low), scale->high));
}

void edgepose_to_photo(edgepose_joint *joints, int count, const edgepose_region *region, double depth_range_mm) {
  const double cosine = cos(region->rotation), sine = sin(region->rotation);
  int index;
  for (index = 0; index < count; index++) {
    const double u = (joints[index].x - 0.5) * region->side, v = (joints[index].y - 0.5) * region->side;
    joints[index].x = region->x + cosine * u - sine * v;
    joints[index].y = region->y + sine * u + cosine * v;
    joints[index].z = (joints[index].z - 0.5) * depth_range_mm;
  }
}

void edgepose_to_camera(edgepose_joint *joints, int count, double root_depth_mm, double focal, double centre_x,
                        double centre_y) {
  int index;
  for (index = 0; index < count; index++) {
    const double z = joints[index].z + root_depth_mm;
    joints[index].x = (joints[index].x - centre_x) / focal * z;
    joints[index].y = (joints[index].y - centre_y) / focal * z;
    joints[index].z = z;
  }
}

double edgepose_root_depth(const edgepose_region *region, double focal) { return 2000 * focal / region->side; }

void edgepose_one_euro_init(edgepose_one_euro *filter, double min_cutoff, double beta, double speed_cutoff) {
  filter->min_cutoff = min_cutoff;
  filter->beta = beta;
  filter->speed_cutoff = speed_cutoff;
  filter->time_s = 0;
  filter->count = 0;
}

/* Return the weight of a new value in a low-pass filter. cutoff: Hz; elapsed: s since the last value. */
static double edgepose_low_pass(double cutoff, double elapsed) {
  const double turn = 2 * 3.14159265358979323846 * cutoff * elapsed;
  return turn / (turn + 1);
}

void edgepose_one_euro_filter(edgepose_one_euro *filter, edgepose_joint *joints, int count, int dimensions, double time_s,
                              double scale) {
  const double elapsed = time_s - filter->time_s;
  const int first = count != filter->count || !(elapsed > 0);
  int index, axis;
  if (count > EDGEPOSE_MAX_JOINTS) return;
  filter->time_s = time_s;
  filter->count = count;
  for (index = 0; index < count; index++) {
    double *last = filter->points[index], *velocity = filter->velocity[index];
    double given[3], speed = 0, weight;
    given[0] = joints[index].x;
    given[1] = joints[index].y;
    given[2] = joints[index].z;
    for (axis = 0; axis < dimensions && !first; axis++) {
      velocity[axis] +=
          edgepose_low_pass(filter->speed_cutoff, elapsed) * ((given[axis] - last[axis]) / elapsed - velocity[axis]);
      speed += velocity[axis] * velocity[axis];
    }
    weight = first ? 1 : edgepose_low_pass(filter->min_cutoff + filter->beta * sqrt(speed) / scale, elapsed);
    for (axis = 0; axis < (first ? 3 : dimensions); axis++) {
      if (first) velocity[axis] = 0;
      last[axis] = first ? given[axis] : last[axis] + weight * (given[axis] - last[axis]);
    }
    joints[index].x = last[0];
    joints[index].y = last[1];
    if (dimensions > 2) joints[index].z = last[2];
  }
}
#endif /* EDGEPOSE_DECODER_IMPLEMENTATION */
