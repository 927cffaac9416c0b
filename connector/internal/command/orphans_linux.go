package command

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

// inherits reports whether orphaned processes become children of this one, because it is process 1 of a
// container.
var inherits = func() bool { return os.Getpid() == 1 }

// reapEvery is how often reapOrphans looks; tests shorten it.
var reapEvery = 2 * time.Second

// reapOrphans waits for orphaned zombies, if this is process 1, until stop is closed. Our own children are always
// being waited for; a zombie that remains from one look to the next is an orphan.
func reapOrphans(stop <-chan struct{}) {
	if !inherits() {
		return
	}
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for before := map[string]bool{}; ; {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		now := make(map[string]bool)
		for _, z := range zombies() {
			if before[z] {
				pid, _ := strconv.Atoi(z)
				syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
				continue
			}
			now[z] = true
		}
		before = now
	}
}

// zombies returns the process ids of children that have ended and that nobody has waited for.
func zombies() (pids []string) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	parent := []byte(strconv.Itoa(os.Getpid()))
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		// 12 (a name, which may contain anything) Z 1 ...
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[0]) == "Z" && bytes.Equal(fields[1], parent) {
			pids = append(pids, name)
		}
	}
	return pids
}
