package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// The quantities of traffic, each per message.
const (
	cpuTime = "cpu ns"   // user and system time of the process
	wall    = "wall ns"  // elapsed time
	mallocs = "allocs"   // allocations
	calls   = "calls"    // reads and writes of the connection
	peak    = "peak RSS" // bytes, for the process
	half    = "p50 ns"   // of a round trip
	late    = "p99 ns"   // of a round trip
)

// A counted is a TCP connection that counts its reads and writes.
type counted struct {
	*net.TCPConn
	calls *atomic.Int64
}

func (c counted) Read(b []byte) (int, error)  { c.calls.Add(1); return c.TCPConn.Read(b) }
func (c counted) Write(b []byte) (int, error) { c.calls.Add(1); return c.TCPConn.Write(b) }

// A meter reads what this process has used.
type meter struct {
	calls *atomic.Int64
	at    time.Time
	cpu   time.Duration
	alloc uint64
	count int64
}

func (m *meter) start() {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	m.alloc, m.count, m.cpu, m.at = mem.Mallocs, m.calls.Load(), processor(), time.Now()
}

// stop returns what n messages have used since the start.
func (m *meter) stop(n int) values {
	took, cpu, count := time.Since(m.at), processor()-m.cpu, m.calls.Load()-m.count
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	each := float64(n)
	return values{
		cpuTime: float64(cpu) / each, wall: float64(took) / each,
		mallocs: float64(mem.Mallocs-m.alloc) / each, calls: float64(count) / each, peak: resident("VmHWM:"),
	}
}

// processor returns the user and system time of this process.
func processor() time.Duration {
	var u syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident returns a size in bytes from a line of /proc/self/status, or 0 if there is none. (The
// maximum of getrusage is useless, since it is inherited from the parent.)
func resident(line string) float64 { return residentOf(os.Getpid(), line) }

// residentOf is resident for another process.
func residentOf(pid int, line string) float64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), line); ok {
			kB, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kB * 1024
		}
	}
	return 0
}
