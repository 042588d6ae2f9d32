/* A stand-in for the C interfaces of OpenALPR, written by us for tests of engine/recognizers.
 *
 * Compiled once per interface: -DPY_BINDING as libopenalprpy.so, -DC_INTERFACE as the open-source
 * libopenalpr.so.2, -DC_INTERFACE -DCOMMERCIAL as the commercial one. A "plate" is whatever is
 * BRIGHT or more in the picture: its box gives the corners, its pixels the text, so a wrong
 * address, stride or offset shows in the result. Everything the caller does is recorded; what would
 * crash the real library (using an instance that did not load, a second thread, freeing what is
 * not ours) is counted as a violation instead.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BRIGHT 200
#define TEXT_MAGIC 0x504c5458u

enum answer { ANSWER_PROPERLY, ANSWER_AS_AFTER_AN_EXCEPTION, ANSWER_NULL, ANSWER_GARBAGE };

struct record {
    const void *pixels;
    int32_t bytes_per_pixel, width, height;
    int32_t area[4];
    int32_t calls, live_texts, live_instances, violations;
    int32_t topn, detect_region;
    char country[64], default_region[64], prewarp[64], license_key[64];
    char config[256], config_text[256];
};

struct instance {
    bool loaded;
    pthread_t owner;
};

static struct record record;
static enum answer next_answer;

const struct record *stand_in_record(void) { return &record; }
void stand_in_forget(void) { memset(&record, 0, sizeof record); }
void stand_in_answer_next(int answer) { next_answer = (enum answer)answer; }

/* --- texts that the caller frees ------------------------------------------------------------ */

static char *give_text(const char *text)
{
    uint32_t *block = malloc(sizeof *block + strlen(text) + 1);
    *block = TEXT_MAGIC;
    record.live_texts++;
    return strcpy((char *)(block + 1), text);
}

static void take_text_back(char *text)
{
    uint32_t *block = (uint32_t *)text - 1;
    if (*block != TEXT_MAGIC) {
        record.violations++;
        return;
    }
    *block = 0;
    record.live_texts--;
    free(block);
}

/* --- instances ------------------------------------------------------------------------------ */

static bool country_loads(const char *runtime_data, const char *country)
{
    char path[4096], line[64] = "";
    snprintf(path, sizeof path, "%s/config/%s.conf", runtime_data, country);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    bool sound = !fgets(line, sizeof line, file) || strncmp(line, "; broken", 8) != 0;
    fclose(file);
    return sound;
}

static struct instance *open_instance(const char *countries, const char *config,
                                      const char *runtime_data)
{
    char list[64];
    FILE *file = fopen(config, "r");
    memset(record.config_text, 0, sizeof record.config_text);
    if (file) {
        if (!fread(record.config_text, 1, sizeof record.config_text - 1, file))
            record.config_text[0] = 0;
        fclose(file);
    }
    snprintf(record.config, sizeof record.config, "%s", config);
    struct instance *instance = malloc(sizeof *instance);
    instance->owner = pthread_self();
    instance->loaded = true;
    snprintf(list, sizeof list, "%s", countries);
    for (char *country = strtok(list, ","); country; country = strtok(NULL, ","))
        instance->loaded &= country_loads(runtime_data, country);
    snprintf(record.country, sizeof record.country, "%s", countries);
    record.live_instances++;
    return instance;
}

static void close_instance(struct instance *instance)
{
    record.live_instances--;
    free(instance);
}

static void use(const struct instance *instance)
{
    if (!instance->loaded || !pthread_equal(instance->owner, pthread_self()))
        record.violations++;
}

/* --- recognition ---------------------------------------------------------------------------- */

static char *recognize(struct instance *instance, const uint8_t *pixels, int bytes_per_pixel,
                       int width, int height, const int area[4])
{
    int left = width, top = height, right = -1, bottom = -1;
    unsigned sum = 0;
    char text[1024], plate[512] = "";

    use(instance);
    record.calls++;
    record.pixels = pixels;
    record.bytes_per_pixel = bytes_per_pixel;
    record.width = width;
    record.height = height;
    memcpy(record.area, area, sizeof record.area);

    enum answer answer = next_answer;
    next_answer = ANSWER_PROPERLY;
    if (answer == ANSWER_NULL)
        return NULL;
    if (answer == ANSWER_GARBAGE)
        return give_text("{\"results\": [");
    if (answer == ANSWER_AS_AFTER_AN_EXCEPTION)
        return give_text("{\"img_width\":-12,\"img_height\":32700,\"results\":[]}");

    for (int y = area[1]; y < area[1] + area[3] && y < height; y++)
        for (int x = area[0]; x < area[0] + area[2] && x < width; x++) {
            int value = pixels[((size_t)y * width + x) * bytes_per_pixel];
            if (value < BRIGHT)
                continue;
            left = x < left ? x : left;
            right = x > right ? x : right;
            top = y < top ? y : top;
            bottom = y > bottom ? y : bottom;
            sum = sum * 31 + value;
        }
    if (right >= 0)
        snprintf(plate, sizeof plate,
                 "{\"plate\":\"P%08X\",\"confidence\":91.5,\"matches_template\":0,"
                 "\"region\":\"\",\"region_confidence\":0,\"coordinates\":["
                 "{\"x\":%d,\"y\":%d},{\"x\":%d,\"y\":%d},{\"x\":%d,\"y\":%d},{\"x\":%d,\"y\":%d}],"
                 "\"candidates\":[{\"plate\":\"P%08X\",\"confidence\":91.5,\"matches_template\":0}]}",
                 sum, left, top, right, top, right, bottom, left, bottom, sum);
    snprintf(text, sizeof text,
             "{\"version\":2,\"data_type\":\"alpr_results\",\"img_width\":%d,\"img_height\":%d,"
             "\"processing_time_ms\":12.5,\"results\":[%s]}",
             width, height, plate);
    return give_text(text);
}

/* --- the interfaces ------------------------------------------------------------------------- */

#ifdef PY_BINDING

void *initialize(char *country, char *config, char *runtime_data)
{
    return open_instance(country, config, runtime_data);
}
void dispose(void *instance) { close_instance(instance); }
bool isLoaded(void *instance) { return ((struct instance *)instance)->loaded; }
char *recognizeFile(void *instance, char *path) { (void)path; use(instance); return NULL; }
char *recognizeArray(void *instance, unsigned char *bytes, int length)
{
    (void)bytes, (void)length;
    use(instance);
    return NULL;
}
char *recognizeRawImage(void *instance, unsigned char *pixels, int bytes_per_pixel, int width,
                        int height)
{
    return recognize(instance, pixels, bytes_per_pixel, width, height,
                     (int[]){0, 0, width, height});
}
void freeJsonMem(char *text) { take_text_back(text); }
void setCountry(void *instance, char *country) { use(instance); (void)country; }
void setTopN(void *instance, int topn) { use(instance); record.topn = topn; }
void setDetectRegion(void *instance, bool on) { use(instance); record.detect_region = on; }
void setDefaultRegion(void *instance, char *region)
{
    use(instance);
    snprintf(record.default_region, sizeof record.default_region, "%s", region);
}
void setPrewarp(void *instance, char *prewarp)
{
    use(instance);
    snprintf(record.prewarp, sizeof record.prewarp, "%s", prewarp);
}
char *getVersion(void *instance) { use(instance); return give_text("9.8.7"); }

#endif
#ifdef C_INTERFACE

struct area { int x, y, width, height; };

#ifdef COMMERCIAL
void *openalpr_init(const char *country, const char *config, const char *runtime_data,
                    const char *license_key)
{
    snprintf(record.license_key, sizeof record.license_key, "%s", license_key);
    return open_instance(country, config, runtime_data);
}
char *openalpr_get_version(void *instance) { use(instance); return give_text("4.1.1"); }
#else
void *openalpr_init(const char *country, const char *config, const char *runtime_data)
{
    return open_instance(country, config, runtime_data);
}
#endif
int openalpr_is_loaded(void *instance) { return ((struct instance *)instance)->loaded; }
void openalpr_cleanup(void *instance) { close_instance(instance); }
char *openalpr_recognize_rawimage(void *instance, unsigned char *pixels, int bytes_per_pixel,
                                  int width, int height, struct area area)
{
    return recognize(instance, pixels, bytes_per_pixel, width, height,
                     (int[]){area.x, area.y, area.width, area.height});
}
void openalpr_free_response_string(char *text) { take_text_back(text); }
void openalpr_set_topn(void *instance, int topn) { use(instance); record.topn = topn; }
void openalpr_set_detect_region(void *instance, int on)
{
    use(instance);
    record.detect_region = on;
}
void openalpr_set_default_region(void *instance, const char *region)
{
    use(instance);
    snprintf(record.default_region, sizeof record.default_region, "%s", region);
}
void openalpr_set_prewarp(void *instance, const char *prewarp)
{
    use(instance);
    snprintf(record.prewarp, sizeof record.prewarp, "%s", prewarp);
}

#endif
