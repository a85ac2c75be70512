/* A GPU that computes nothing, for the host's side of CUDA on computers that have none.
 *
 * Compiled once for each library: -DDRIVER, -DMANAGEMENT or -DRUNTIME. Device memory is host
 * memory, kernels are not run, so that every output is zero, and events tell the host's time.
 * It answers as nvidia-smi shows an H100.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, INVALID = 1, NO_MEMORY = 2, NOT_SUPPORTED = 3, NO_DEVICE = 100 };

static int visible(void) { return getenv("STAND_IN_NO_GPU") ? 0 : 1; }

static int write_text(char *to, unsigned room, const char *text) {
    return snprintf(to, room, "%s", text) < (int)room ? SUCCESS : INVALID;
}

#ifdef DRIVER
int cuInit(unsigned flags) { return flags || !visible() ? NO_DEVICE : SUCCESS; }

int cuDriverGetVersion(int *version) {
    const char *old = getenv("STAND_IN_DRIVER");
    *version = old ? atoi(old) : 13000;
    return SUCCESS;
}

int cuDeviceGetCount(int *count) { *count = visible(); return SUCCESS; }
int cuDeviceGet(int *device, int index) { *device = index; return index ? NO_DEVICE : SUCCESS; }

int cuDeviceGetName(char *name, int room, int device) {
    return device ? INVALID : write_text(name, room, "NVIDIA H100 80GB HBM3");
}

int cuDeviceGetPCIBusId(char *bus, int room, int device) {
    return device ? INVALID : write_text(bus, room, "0000:01:00.0");
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (device ? -1 : attribute) {
    case 75: *value = 9; return SUCCESS;
    case 76: *value = 0; return SUCCESS;
    case 16: *value = 132; return SUCCESS;
    case 38: *value = 1 << 20; return SUCCESS; /* small, so that to flush it costs little */
    default: return INVALID;
    }
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = (size_t)81559 << 20;
    return device ? INVALID : SUCCESS;
}

int cuModuleLoadData(void **module, const void *image) {
    /* A fat binary, as its magic number says; another machine's code is not for this GPU. */
    *module = (void *)image;
    return *(const uint32_t *)image == 0xBA55ED50 ? SUCCESS : 200;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = module;
    return *name ? SUCCESS : INVALID;
}

int cuModuleUnload(void *module) { return module ? SUCCESS : INVALID; }
int cuFuncSetAttribute(void *f, int what, int value) { return f && what && value ? SUCCESS : INVALID; }
int cuTensorMapEncodeTiled(void) { return INVALID; }

int cuLaunchKernelEx(const void *how, void *function, void **arguments, void **extra) {
    return how && function && arguments && !extra ? SUCCESS : INVALID;
}

int cuGetErrorName(int error, const char **name) { *name = error ? "CUDA_ERROR" : "OK"; return SUCCESS; }
int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }
#endif

#ifdef MANAGEMENT
static int handle;

int nvmlInit_v2(void) { return SUCCESS; }

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device) {
    *device = &handle;
    return strcmp(bus, "0000:01:00.0") ? INVALID : SUCCESS;
}

static int say(void *device, unsigned *to, unsigned value) {
    *to = value;
    return device == &handle ? SUCCESS : INVALID;
}

int nvmlSystemGetDriverVersion(char *version, unsigned room) {
    return write_text(version, room, "580.159.04");
}
int nvmlDeviceGetPersistenceMode(void *device, unsigned *mode) { return say(device, mode, 1); }
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *mw) { return say(device, mw, 700000); }
int nvmlDeviceGetMaxClockInfo(void *device, int clock, unsigned *mhz) {
    return clock == 1 ? say(device, mhz, 1980) : INVALID;
}
int nvmlDeviceGetClockInfo(void *device, int clock, unsigned *mhz) {
    return clock == 1 ? say(device, mhz, 1755) : clock == 2 ? say(device, mhz, 2619) : INVALID;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned *mw) {
    return getenv("STAND_IN_BLIND") ? NOT_SUPPORTED : say(device, mw, 123456);
}
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
    return sensor ? INVALID : say(device, celsius, 41);
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) {
    const char *set = getenv("STAND_IN_REASONS");
    *reasons = set ? strtoull(set, NULL, 0) : 0;
    return device == &handle ? SUCCESS : INVALID;
}
#endif

#ifdef RUNTIME
typedef struct { struct timespec time; } Event;

static int streams;

int cudaRuntimeGetVersion(int *version) { *version = 13000; return SUCCESS; }
int cudaGetDeviceCount(int *count) { *count = visible(); return SUCCESS; }
int cudaSetDevice(int device) { return device ? NO_DEVICE : SUCCESS; }
int cudaGetDevice(int *device) { *device = 0; return SUCCESS; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 9 : 0;
    return device ? INVALID : SUCCESS;
}
int cudaGetDeviceProperties(void *properties, int device) { return properties && !device ? SUCCESS : INVALID; }

int cudaMalloc(void **memory, size_t bytes) {
    const char *largest = getenv("STAND_IN_LARGEST");
    if (largest && bytes > strtoull(largest, NULL, 0)) return NO_MEMORY;
    *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (*memory) memset(*memory, 0, bytes);
    return *memory ? SUCCESS : NO_MEMORY;
}
int cudaMallocHost(void **memory, size_t bytes) { return cudaMalloc(memory, bytes); }
int cudaFree(void *memory) { free(memory); return SUCCESS; }
int cudaFreeHost(void *memory) { return cudaFree(memory); }
int cudaMemGetInfo(size_t *left, size_t *all) { *left = *all = (size_t)81559 << 20; return SUCCESS; }
int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int way, void *stream) {
    (void)stream;
    memmove(to, from, bytes);
    return way >= 1 && way <= 4 ? SUCCESS : INVALID;
}
int cudaMemcpyPeerAsync(void) { return INVALID; }

int cudaStreamCreate(void **stream) { *stream = &streams; return SUCCESS; }
int cudaStreamCreateWithFlags(void **stream, unsigned flags) { (void)flags; return cudaStreamCreate(stream); }
int cudaStreamDestroy(void *stream) { return stream == &streams ? SUCCESS : INVALID; }
int cudaStreamSynchronize(void *stream) { return !stream || stream == &streams ? SUCCESS : INVALID; }
int cudaStreamWaitEvent(void) { return INVALID; }

int cudaEventCreate(Event **event) { *event = calloc(1, sizeof(Event)); return SUCCESS; }
int cudaEventDestroy(Event *event) { free(event); return SUCCESS; }
int cudaEventRecord(Event *event, void *stream) {
    (void)stream;
    return clock_gettime(CLOCK_MONOTONIC, &event->time);
}
int cudaEventSynchronize(Event *event) { return event->time.tv_sec ? SUCCESS : INVALID; }
int cudaEventElapsedTime(float *ms, const Event *from, const Event *to) {
    *ms = 1e3 * (to->time.tv_sec - from->time.tv_sec) + 1e-6 * (to->time.tv_nsec - from->time.tv_nsec);
    return SUCCESS;
}

/* A graph keeps nothing of what it captured, as no kernel does anything. */
int cudaStreamBeginCapture(void *stream, int mode) { return stream == &streams && mode >= 0 ? SUCCESS : INVALID; }
int cudaStreamEndCapture(void *stream, void **graph) { *graph = stream; return stream == &streams ? SUCCESS : INVALID; }
int cudaGraphInstantiate(void **executable, void *graph, unsigned long long flags) {
    *executable = graph;
    return flags || !graph ? INVALID : SUCCESS;
}
int cudaGraphLaunch(void *executable, void *stream) {
    return executable && stream == &streams ? SUCCESS : INVALID;
}
int cudaGraphDestroy(void *graph) { return graph ? SUCCESS : INVALID; }
int cudaGraphExecDestroy(void *executable) { return executable ? SUCCESS : INVALID; }

int cudaGetLastError(void) { return SUCCESS; }
int cudaPeekAtLastError(void) { return SUCCESS; }
const char *cudaGetErrorName(int error) {
    return error == NO_MEMORY ? "cudaErrorMemoryAllocation" : error ? "cudaError" : "cudaSuccess";
}
const char *cudaGetErrorString(int error) { return cudaGetErrorName(error); }
#endif
