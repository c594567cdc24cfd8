// Plug-in for QEMU 7.2 (plug-in API 1): counts the instructions of each thread, in total and of INT8 and float kernels.
//
// The guest marks a point in time by getpriority(PRIO_PGRP, NUMBER); a line of JSON with the counts so far is then written
// to the file of the option out=FILE, for the thread that marked: other threads run at any time. The declarations stand here because Debian ships no header of this version, and
// because the compiler of the set-up has no headers either.
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t, size_t;
typedef struct FILE FILE;
FILE *fopen(const char *, const char *);
int fprintf(FILE *, const char *, ...), fflush(FILE *), strncmp(const char *, const char *, size_t);
void *memcpy(void *, const void *, size_t), *calloc(size_t, size_t);

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t,
    uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { SMLAL, SDOT, SMMLA, SMOPA, FMLA, KINDS };
static const char *NAMES[KINDS] = {"smlal", "sdot", "smmla", "smopa", "fmla"};
static const struct { int kind; uint32_t mask, value; } PATTERNS[] = {
  {SDOT, 0xBFE0FC00, 0x0E809400}, {SDOT, 0xBFC0F400, 0x0F80E000},    // vector, by element
  {SMMLA, 0xFFE0FC00, 0x4E80A400},
  {SMOPA, 0xFFE0001C, 0xA0800000},
  {SMLAL, 0xBF20FC00, 0x0E208000}, {SMLAL, 0xBF00F400, 0x0F002000},  // vector, by element
  {SMLAL, 0xBF20FC00, 0x0E20C000}, {SMLAL, 0xBF00F400, 0x0F00A000},  // smull
  {FMLA, 0xBFA0FC00, 0x0E20CC00}, {FMLA, 0xBF80F400, 0x0F801000},
};
#define PATTERN_COUNT (sizeof PATTERNS / sizeof *PATTERNS)
#define GETPRIORITY 141
#define PRIO_PGRP 1

struct counts { uint64_t total, kinds[KINDS]; };
#define THREADS 1024
static struct counts threads[THREADS];
static FILE *out;

static void executed(unsigned thread, void *block) {
  const struct counts *added = block;
  struct counts *sum = &threads[thread % THREADS];
  sum->total += added->total;
  for (int k = 0; k < KINDS; k++) sum->kinds[k] += added->kinds[k];
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
  struct counts *found = calloc(1, sizeof *found);  // lives as long as the translated block
  found->total = qemu_plugin_tb_n_insns(block);
  for (size_t i = 0; i < found->total; i++) {
    uint32_t instruction;
    memcpy(&instruction, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), 4);
    for (size_t k = 0; k < PATTERN_COUNT; k++)
      if ((instruction & PATTERNS[k].mask) == PATTERNS[k].value) {
        found->kinds[PATTERNS[k].kind]++;
        break;
      }
  }
  qemu_plugin_register_vcpu_tb_exec_cb(block, executed, QEMU_PLUGIN_CB_NO_REGS, found);
}

static void called(qemu_plugin_id_t id, unsigned thread, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
    uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  if (number != GETPRIORITY || a1 != PRIO_PGRP) return;
  const struct counts *sum = &threads[thread % THREADS];
  fprintf(out, "{\"mark\": %lu, \"total\": %lu", a2, sum->total);
  for (int k = 0; k < KINDS; k++) fprintf(out, ", \"%s\": %lu", NAMES[k], sum->kinds[k]);
  fprintf(out, "}\n");
  fflush(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **arguments) {
  for (int i = 0; i < count; i++)
    if (!strncmp(arguments[i], "out=", 4)) out = fopen(arguments[i] + 4, "w");
  if (!out) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
