/* A TCG plugin of QEMU: counts the instructions of an emulated process, and the misses of a
 * modelled hierarchy of data caches.
 *
 *   qemu-aarch64 -plugin insnclock.so,page=FILE,cache=KIB:WAYS[,cache=KIB:WAYS...] PROGRAM
 *
 * FILE becomes one page of 64-bit words that the process can map, too:
 *
 *   0      a write of 1 empties the caches and sets the counters to 0
 *   1      instructions
 *   2      accesses to memory, where there is a cache; one that crosses a line counts twice
 *   3...   misses of each cache, the nearest first
 *
 * The model: lines of 64 bytes, true LRU, write-allocate, data only; a cache sees what the one
 * before it missed. No prefetching, no write-back traffic, no TLB, no instruction cache. Pages of
 * 4 KiB get consecutive physical frames in the order in which they are first touched after the
 * caches were emptied, so counts do not depend on where a process is put in memory.
 *
 * For one guest thread. QEMU before 9.0 takes plugins of API version 1, later ones of 2 and up;
 * what is used here is the same in all, and declared here since distributions ship no header.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef API_VERSION
#define API_VERSION 1
#endif

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
typedef void (*tb_translated)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*executed)(unsigned int, void *);
typedef void (*accessed)(unsigned int, qemu_plugin_meminfo_t, uint64_t, void *);

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_translated);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed,
                                                 enum qemu_plugin_cb_flags, void *);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, accessed,
                                             enum qemu_plugin_cb_flags, enum qemu_plugin_mem_rw,
                                             void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern unsigned int qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);

#define PUBLIC __attribute__((visibility("default")))
PUBLIC int qemu_plugin_version = API_VERSION;

enum { LINE_BITS = 6, PAGE_BITS = 12, MAX_CACHES = 4, PAGE_BYTES = 4096 };

static volatile struct {
    uint64_t reset, instructions, accesses, misses[MAX_CACHES];
} *counters;

static struct cache {
    uint64_t sets, ways;
    uint64_t *lines; /* sets x ways, the most recently used first; a line's number + 1, 0: empty */
} caches[MAX_CACHES];
static int n_caches;

/* The frames of pages: open addressing, a page's number + 1 as key. */
static struct frame { uint64_t page, frame; } *frames;
static uint64_t n_slots = 1 << 16, n_frames;

static struct frame *slot_of(struct frame *table, uint64_t page)
{
    uint64_t slot = (page * 0x9e3779b97f4a7c15u) >> 20;
    while (table[slot & (n_slots - 1)].page && table[slot & (n_slots - 1)].page != page + 1)
        slot++;
    return &table[slot & (n_slots - 1)];
}

static void grow(void)
{
    struct frame *old = frames;
    uint64_t n_old = n_slots;
    n_slots *= 2;
    frames = calloc(n_slots, sizeof *frames);
    for (uint64_t i = 0; i < n_old; i++)
        if (old[i].page)
            *slot_of(frames, old[i].page - 1) = old[i];
    free(old);
}

static uint64_t frame_of(uint64_t page)
{
    static uint64_t last_page = UINT64_MAX, last_frame, last_n; /* of this many frames */
    if (page == last_page && last_n && last_n <= n_frames)
        return last_frame;
    struct frame *found = slot_of(frames, page);
    if (!found->page) {
        *found = (struct frame){page + 1, n_frames++};
        last_frame = found->frame;
        if (2 * n_frames > n_slots)
            grow();
    } else {
        last_frame = found->frame;
    }
    last_page = page;
    last_n = n_frames;
    return last_frame;
}

static void start_anew(void)
{
    for (int i = 0; i < n_caches; i++)
        memset(caches[i].lines, 0, caches[i].sets * caches[i].ways * sizeof(uint64_t));
    memset(frames, 0, n_slots * sizeof *frames);
    n_frames = 0;
    memset((void *)counters, 0, sizeof *counters);
}

/* Whether a line was in the cache; now it is, as the most recently used of its set. */
static bool hit(struct cache *cache, uint64_t line)
{
    uint64_t *set = cache->lines + line % cache->sets * cache->ways, way = 0;
    if (set[0] == line + 1)
        return true;
    while (way < cache->ways && set[way] != line + 1)
        way++;
    bool found = way < cache->ways;
    memmove(set + 1, set, (found ? way : cache->ways - 1) * sizeof *set);
    set[0] = line + 1;
    return found;
}

static void touch(uint64_t address)
{
    uint64_t in_page = address & ((1 << PAGE_BITS) - 1);
    uint64_t line = (frame_of(address >> PAGE_BITS) << PAGE_BITS | in_page) >> LINE_BITS;
    counters->accesses++;
    for (int i = 0; i < n_caches && !hit(&caches[i], line); i++)
        counters->misses[i]++;
}

static void on_access(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t address, void *unused)
{
    uint64_t last = address + (1u << qemu_plugin_mem_size_shift(info)) - 1;
    (void)cpu, (void)unused;
    touch(address);
    if (last >> LINE_BITS != address >> LINE_BITS)
        touch(last);
}

static void on_block(unsigned int cpu, void *instructions)
{
    (void)cpu;
    if (counters->reset)
        start_anew();
    counters->instructions += (uintptr_t)instructions;
}

static void on_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    size_t n = qemu_plugin_tb_n_insns(block);
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, QEMU_PLUGIN_CB_NO_REGS, (void *)n);
    for (size_t i = 0; n_caches && i < n; i++)
        qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(block, i), on_access,
                                         QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
}

static bool add_cache(const char *text)
{
    unsigned kib, ways;
    if (n_caches == MAX_CACHES || sscanf(text, "%u:%u", &kib, &ways) != 2 || !kib || !ways)
        return false;
    struct cache *cache = &caches[n_caches++];
    cache->ways = ways;
    cache->sets = ((uint64_t)kib * 1024 >> LINE_BITS) / ways;
    cache->lines = cache->sets ? calloc(cache->sets * ways, sizeof(uint64_t)) : NULL;
    return cache->lines != NULL;
}

static bool map_page(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, PAGE_BYTES))
        return false;
    counters = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return counters != MAP_FAILED;
}

PUBLIC int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    bool mapped = false;
    (void)info;
    frames = calloc(n_slots, sizeof *frames);
    for (int i = 0; i < argc; i++) {
        bool taken = !strncmp(argv[i], "page=", 5)    ? (mapped = map_page(argv[i] + 5))
                     : !strncmp(argv[i], "cache=", 6) ? add_cache(argv[i] + 6)
                                                      : false;
        if (!taken) {
            fprintf(stderr, "insnclock takes page=FILE and cache=KIB:WAYS, got %s\n", argv[i]);
            return 1;
        }
    }
    if (!mapped || !frames) {
        fprintf(stderr, "insnclock needs page=FILE\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    return 0;
}
