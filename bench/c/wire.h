/* What the load generator and the origin both know of HTTP/1.1: where a head ends, what a field says, where a body ends. */
#ifndef WIRE_H
#define WIRE_H

#define _GNU_SOURCE
#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <stdlib.h>
#include <time.h>

typedef struct {
    int chunked, state, done;
    uint64_t left;  /* bytes of the body, or of the chunk, that are still to come */
    uint64_t total; /* bytes of the body so far, without the framing */
} Body;

static inline uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

/* Return the length of the head that begins at `text`, 0 while it is not complete. */
static inline size_t head_length(const char *text, size_t length) {
    const char *end = memmem(text, length, "\r\n\r\n", 4);
    return end ? (size_t)(end - text) + 4 : 0;
}

/* Return the value of the field `name` (with its colon), NULL where the head has none. */
static inline const char *field(const char *head, size_t length, const char *name) {
    size_t size = strlen(name);
    const char *at = head, *end = head + length;
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at++;
        if ((size_t)(end - at) < size) return NULL;
        if ((*at | 32) == (*name | 32) && strncasecmp(at, name, size) == 0) {
            for (at += size; *at == ' '; at++) {}
            return at;
        }
    }
    return NULL;
}

/* Begin a body by its head; return 0 where nothing says how long it is. */
static inline int body_begin(Body *body, const char *head, size_t length) {
    const char *value;
    memset(body, 0, sizeof *body);
    if ((value = field(head, length, "Content-Length:")) != NULL) {
        body->left = strtoull(value, NULL, 10);
        body->done = body->left == 0;
        return 1;
    }
    if ((value = field(head, length, "Transfer-Encoding:")) != NULL && strncasecmp(value, "chunked", 7) == 0) {
        body->chunked = 1;
        return 1;
    }
    return 0;
}

enum { SIZE, AFTER_SIZE, DATA, AFTER_DATA, TRAILER, TRAILER_LINE };

/* Take what belongs to the body; return how many bytes that are, and set `done` at its end. */
static inline size_t body_take(Body *body, const char *text, size_t length) {
    size_t at = 0;
    if (!body->chunked) {
        at = length < body->left ? length : (size_t)body->left;
        body->left -= at;
        body->total += at;
        body->done = body->left == 0;
        return at;
    }
    while (at < length && !body->done) {
        char c = text[at];
        switch (body->state) {
        case SIZE:
            if (isxdigit((unsigned char)c)) {
                body->left = body->left * 16 + (uint64_t)(isdigit((unsigned char)c) ? c - '0' : (c | 32) - 'a' + 10);
                at++;
                break;
            }
            body->state = AFTER_SIZE;
            break;
        case AFTER_SIZE:
            at++;
            if (c == '\n') body->state = body->left ? DATA : TRAILER;
            break;
        case DATA: {
            size_t some = length - at < body->left ? length - at : (size_t)body->left;
            at += some;
            body->left -= some;
            body->total += some;
            if (!body->left) body->state = AFTER_DATA;
            break;
        }
        case AFTER_DATA:
            at++;
            if (c == '\n') body->state = SIZE;
            break;
        case TRAILER:
            at++;
            if (c == '\n') body->done = 1;
            else if (c != '\r') body->state = TRAILER_LINE;
            break;
        default:
            at++;
            if (c == '\n') body->state = TRAILER;
        }
    }
    return at;
}

#endif
