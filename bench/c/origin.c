/* The origin of every case, as cheap as can be, so that it is never the limit.
 *
 *     origin FIRST_PORT PORTS ADDRESSES
 *
 *     origin PORT 1 lo        listens on every address of the loopback device, and prints every 100 ms how many connections
 *                             came in them (for scale.py)
 *
 * The first listens on FIRST_PORT and the PORTS - 1 after it, on 127.0.0.1 and on 127.0.1.1 … 127.0.1.ADDRESSES: each pair is a
 * target, which says so in X-Served-By. It reads a request's body to the end, then answers:
 *
 *     /bytes/N     N bytes, with Content-Length       /chunked/N   N bytes in chunks of 64 KiB
 *     /seen        what a proxy made of the request    else         200 bytes
 */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEAD (32 * 1024)
#define CHUNK (64 * 1024)
#define BATCH 256

typedef struct {
    int fd, listening, writing, reading_body;
    char name[32];       /* of the target, as X-Served-By says it */
    char *head;          /* bytes of a head that is not complete */
    size_t kept;
    Body body;
    char answer[1024];   /* what is to be said when the body has come */
    size_t said, length; /* of the answer: written, all */
    uint64_t chunks, at; /* units that follow the answer, and bytes written of the one that is under way */
    uint64_t last;       /* bytes of the last unit */
    int chunked;
} Peer;

static char unit[7 + CHUNK + 2], date[64], tail[] = "0\r\n\r\n";
static int poller, telling;

static void quit(const char *what) {
    perror(what);
    exit(1);
}

static void watch(Peer *peer, int how, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (epoll_ctl(poller, how, peer->fd, &event)) quit("epoll_ctl");
}

static void listen_on(const char *address, int port) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    Peer *peer = calloc(1, sizeof *peer);
    int yes = 1;
    if (telling) here.sin_addr.s_addr = INADDR_ANY;
    else inet_pton(AF_INET, address, &here.sin_addr);
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    peer->listening = 1;
    snprintf(peer->name, sizeof peer->name, "%s:%d", address, port);
    setsockopt(peer->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (telling && setsockopt(peer->fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3)) quit("SO_BINDTODEVICE");
    if (bind(peer->fd, (struct sockaddr *)&here, sizeof here) || listen(peer->fd, 4096)) quit(peer->name);
    watch(peer, EPOLL_CTL_ADD, EPOLLIN);
}

static void close_peer(Peer *peer) {
    close(peer->fd);
    free(peer->head);
    free(peer);
}

/* Copy a field's value, or "-", after a label. */
static int show(char *to, size_t room, const char *label, const char *head, size_t length, const char *name) {
    const char *value = field(head, length, name);
    return snprintf(to, room, "%s=%.*s ", label, value ? (int)strcspn(value, "\r\n") : 0, value ? value : "");
}

static void prepare(Peer *peer, const char *head, size_t length) {
    static const char *fields[][2] = {
        {"host", "Host:"}, {"for", "X-Forwarded-For:"}, {"proto", "X-Forwarded-Proto:"},
        {"forwarded-host", "X-Forwarded-Host:"}, {"port", "X-Forwarded-Port:"}, {"real-ip", "X-Real-IP:"},
        {"id", "X-Request-ID:"}, {"connection", "Connection:"}};
    char text[640];
    size_t size = 200;
    const char *path = memchr(head, ' ', length);
    path = path ? path + 1 : head;
    memset(text, 'x', sizeof text);
    text[199] = '\n';
    peer->chunks = peer->at = peer->said = peer->last = 0;
    peer->chunked = 0;
    if (strncmp(path, "/bytes/", 7) == 0 || strncmp(path, "/chunked/", 9) == 0) {
        peer->chunked = path[1] == 'c';
        size = strtoull(path + (peer->chunked ? 9 : 7), NULL, 10);
        peer->chunks = size / CHUNK; /* sizes are multiples of it */
    } else if (strncmp(path, "/seen", 5) == 0) {
        size = 0;
        for (size_t n = 0; n < sizeof fields / sizeof *fields; n++)
            size += (size_t)show(text + size, sizeof text - size, fields[n][0], head, length, fields[n][1]);
        text[size++] = '\n';
    }
    int wrote = snprintf(peer->answer, sizeof peer->answer,
                         "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: %s\r\nContent-Type: text/plain\r\n", date);
    if (peer->chunked)
        wrote += snprintf(peer->answer + wrote, 64, "Transfer-Encoding: chunked\r\n");
    else
        wrote += snprintf(peer->answer + wrote, 64, "Content-Length: %zu\r\n", size);
    wrote += snprintf(peer->answer + wrote, 128, "Connection: keep-alive\r\nX-Served-By: %s\r\n\r\n", peer->name);
    peer->length = (size_t)wrote;
    if (!peer->chunks && !peer->chunked) {
        memcpy(peer->answer + peer->length, text, size);
        peer->length += size;
    }
}

/* Write what is left of the answer; return 0 when the connection is lost. */
static int write_on(Peer *peer) {
    const char *whole = peer->chunked ? unit : unit + 7;
    size_t size = peer->chunked ? sizeof unit : CHUNK;
    for (;;) {
        struct iovec parts[18];
        int count = 0;
        uint64_t left = peer->chunks;
        if (peer->said < peer->length)
            parts[count++] = (struct iovec){peer->answer + peer->said, peer->length - peer->said};
        if (left && count < 17) {
            parts[count++] = (struct iovec){(char *)whole + peer->at, size - peer->at};
            for (left--; left && count < 16; left--) parts[count++] = (struct iovec){(char *)whole, size};
        }
        if (!left && peer->chunked && peer->last < 5) parts[count++] = (struct iovec){tail + peer->last, 5 - peer->last};
        if (!count) break;
        ssize_t wrote = writev(peer->fd, parts, count);
        if (wrote < 0) {
            if (errno != EAGAIN) return 0;
            if (!peer->writing) watch(peer, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            peer->writing = 1;
            return 1;
        }
        size_t some = peer->length - peer->said < (size_t)wrote ? peer->length - peer->said : (size_t)wrote;
        peer->said += some;
        wrote -= (ssize_t)some;
        while (wrote > 0 && peer->chunks) {
            some = size - peer->at < (size_t)wrote ? size - peer->at : (size_t)wrote;
            peer->at += some;
            wrote -= (ssize_t)some;
            if (peer->at == size) peer->at = 0, peer->chunks--;
        }
        peer->last += (uint64_t)wrote;
    }
    if (peer->writing) watch(peer, EPOLL_CTL_MOD, EPOLLIN);
    peer->writing = 0;
    return 1;
}

/* Take what was read; return 0 when the connection is of no use any more. */
static int take(Peer *peer, const char *text, size_t length) {
    while (length) {
        if (!peer->reading_body) {
            size_t head;
            if (peer->kept) {
                size_t some = length < HEAD - peer->kept ? length : HEAD - peer->kept;
                size_t before = peer->kept;
                memcpy(peer->head + peer->kept, text, some);
                peer->kept += some;
                head = head_length(peer->head, peer->kept);
                if (!head) return peer->kept < HEAD;
                prepare(peer, peer->head, head);
                if (!body_begin(&peer->body, peer->head, head)) peer->body.done = 1;
                text += head - before, length -= head - before;
                peer->kept = 0;
            } else {
                head = head_length(text, length);
                if (!head) {
                    if (length > HEAD) return 0;
                    if (!peer->head) peer->head = malloc(HEAD);
                    memcpy(peer->head, text, length);
                    peer->kept = length;
                    return 1;
                }
                prepare(peer, text, head);
                if (!body_begin(&peer->body, text, head)) peer->body.done = 1;
                text += head, length -= head;
            }
            peer->reading_body = 1;
        }
        size_t some = peer->body.done ? 0 : body_take(&peer->body, text, length);
        text += some, length -= some;
        if (peer->body.done) {
            peer->reading_body = 0;
            if (!write_on(peer)) return 0;
        }
    }
    return 1;
}

int main(int count, char **given) {
    static char read_into[256 * 1024];
    struct epoll_event events[BATCH];
    time_t second = 0;
    uint64_t accepted = 0, told = 0;
    if (count != 4) return 2;
    telling = !strcmp(given[3], "lo");
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    memset(unit, 'x', sizeof unit);
    memcpy(unit, "10000\r\n", 7);
    memcpy(unit + 7 + CHUNK, "\r\n", 2);
    for (int port = atoi(given[1]); port < atoi(given[1]) + atoi(given[2]); port++) {
        listen_on("127.0.0.1", port);
        for (int n = 1; n <= atoi(given[3]); n++) {
            char address[16];
            snprintf(address, sizeof address, "127.0.1.%d", n & 255);
            listen_on(address, port);
        }
    }
    for (;;) {
        int ready = epoll_wait(poller, events, BATCH, telling ? 10 : -1);
        if (telling && now_ns() / 100000000u != told) {
            told = now_ns() / 100000000u;
            printf("%llu %llu\n", (unsigned long long)told, (unsigned long long)accepted);
            fflush(stdout);
            accepted = 0;
        }
        if (time(NULL) != second) {
            second = time(NULL);
            strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&second));
        }
        for (int n = 0; n < ready; n++) {
            Peer *peer = events[n].data.ptr;
            if (peer->listening) {
                int fd, yes = 1;
                while ((fd = accept4(peer->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    Peer *client = calloc(1, sizeof *client);
                    client->fd = fd;
                    accepted++;
                    memcpy(client->name, peer->name, sizeof client->name);
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                    watch(client, EPOLL_CTL_ADD, EPOLLIN);
                }
                continue;
            }
            if (events[n].events & EPOLLOUT && !write_on(peer)) {
                close_peer(peer);
                continue;
            }
            if (!(events[n].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
            ssize_t got = read(peer->fd, read_into, sizeof read_into);
            if (got == 0 || (got < 0 && errno != EAGAIN) || (got > 0 && !take(peer, read_into, (size_t)got)))
                close_peer(peer);
        }
    }
}
