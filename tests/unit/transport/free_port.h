// Ports for programs that have to be told one before they start.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/file_descriptor.h"

namespace larder {

// A TCP port of loopback that nobody listens on, soon at least.
inline int FreePort() {
  const FileDescriptor probe(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(bind(probe.get(), generic, size), 0);
  EXPECT_EQ(getsockname(probe.get(), generic, &size), 0);
  return ntohs(address.sin_port);
}

}  // namespace larder
