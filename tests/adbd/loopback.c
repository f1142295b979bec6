/* Preloaded into adbd: whatever it binds is bound to 127.0.0.1, and anything but IP and Unix sockets is refused.
 * Debian's adbd listens on every address and on vsock, without a key; a test machine must not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Only the daemon itself is changed, not what runs in its shells. */
__attribute__((constructor)) static void hide(void) { unsetenv("LD_PRELOAD"); }

int bind(int fd, const struct sockaddr *address, socklen_t size) {
  static int (*real_bind)(int, const struct sockaddr *, socklen_t);
  if (real_bind == NULL) *(void **)&real_bind = dlsym(RTLD_NEXT, "bind");
  if (address->sa_family == AF_INET) {
    struct sockaddr_in here = *(const struct sockaddr_in *)address;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return real_bind(fd, (struct sockaddr *)&here, sizeof here);
  }
  if (address->sa_family == AF_INET6) {
    static const struct in6_addr mapped = {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}}};
    struct sockaddr_in6 here = *(const struct sockaddr_in6 *)address;
    here.sin6_addr = mapped;
    return real_bind(fd, (struct sockaddr *)&here, sizeof here);
  }
  if (address->sa_family == AF_UNIX) return real_bind(fd, address, size);
  errno = EAFNOSUPPORT;
  return -1;
}
