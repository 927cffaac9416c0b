package client

import "syscall"

// resets are the errors of the system that say that the peer closed. WSAECONNABORTED is not
// among them: Windows reports it when its own retransmissions time out.
var resets = []syscall.Errno{syscall.WSAECONNRESET, syscall.ERROR_BROKEN_PIPE, syscall.ERROR_NETNAME_DELETED}
