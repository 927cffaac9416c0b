package hostile

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// A Budget limits what a victim may use while a server is hostile. Zero fields mean the usual
// limits.
type Budget struct {
	Memory     int     // MiB of resident memory
	Files      int     // file descriptors
	Goroutines int     // if the victim reports them
	Log        int     // KiB per ten seconds
	CPU        float64 // share of a core
}

// AnyCPU is more than a process can use.
const AnyCPU = 1e6

// A Kind is a kind of victim: a program that meets the servers.
type Kind string

// The kinds of victims.
const (
	Client  Kind = "client"  // client.Client
	Store   Kind = "store"   // the same with client/wal
	Command Kind = "command" // mqtt311 run, with a consumer and a session store
)

// Budget returns the usual budget of a kind. Memory is counted from the start of the process, which itself takes 15
// MiB, or 25 as the command.
func (k Kind) Budget() Budget {
	b := Budget{Memory: 64, Files: 12, Goroutines: 16, Log: 64, CPU: 0.1}
	switch k {
	case Store:
		b.Files = 20
	case Command:
		b.Files, b.Log = 24, 128
	}
	return b
}

// Over returns b, with the fields that are set in c replaced.
func (b Budget) Over(c Budget) Budget {
	return Budget{
		Memory:     cmp.Or(c.Memory, b.Memory),
		Files:      cmp.Or(c.Files, b.Files),
		Goroutines: cmp.Or(c.Goroutines, b.Goroutines),
		Log:        cmp.Or(c.Log, b.Log),
		CPU:        cmp.Or(c.CPU, b.CPU),
	}
}

// Figures are what a victim has used.
type Figures struct {
	Memory     int // bytes, maximum
	Files      int // maximum
	Goroutines int // maximum; 0: the victim does not report it
	Log        int // bytes
	CPU        time.Duration
	Wall       time.Duration // the time in which CPU and Log were used
}

// Exceeds describes each figure that is above the budget.
func (f Figures) Exceeds(b Budget) []string {
	var out []string
	wrong := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if f.Memory > b.Memory<<20 {
		wrong("%.1f MiB of memory, more than %d", mib(f.Memory), b.Memory)
	}
	if f.Files > b.Files {
		wrong("%d file descriptors, more than %d", f.Files, b.Files)
	}
	if f.Goroutines > b.Goroutines {
		wrong("%d goroutines, more than %d", f.Goroutines, b.Goroutines)
	}
	if most := float64(b.Log<<10) * max(1, f.Wall.Seconds()/10); float64(f.Log) > most {
		wrong("%d bytes of log in %v, more than %.0f", f.Log, f.Wall.Round(time.Second/10), most)
	}
	if f.share() > b.CPU {
		wrong("%.0f %% of a core, more than %.0f", 100*f.share(), 100*b.CPU)
	}
	return out
}

func (f Figures) share() float64 { return f.CPU.Seconds() / max(0.1, f.Wall.Seconds()) }

func mib(n int) float64 { return float64(n) / (1 << 20) }

// String returns the figures in a line.
func (f Figures) String() string {
	s := []string{
		fmt.Sprintf("%5.1f MiB", mib(f.Memory)),
		fmt.Sprintf("%2d files", f.Files),
		fmt.Sprintf("%5.1f KiB of log", float64(f.Log)/1024),
		fmt.Sprintf("%5.1f %% of a core", 100*f.share()),
	}
	if f.Goroutines > 0 {
		s = append(s, fmt.Sprintf("%d goroutines", f.Goroutines))
	}
	return strings.Join(s, ", ")
}

// String returns the fields that are set.
func (b Budget) String() string {
	var s []string
	add := func(set bool, format string, v any) {
		if set {
			s = append(s, fmt.Sprintf(format, v))
		}
	}
	add(b.Memory > 0, "%d MiB", b.Memory)
	add(b.Files > 0, "%d descriptors", b.Files)
	add(b.Goroutines > 0, "%d goroutines", b.Goroutines)
	add(b.Log > 0, "%d KiB of log", b.Log)
	add(b.CPU == AnyCPU, "any processor time%s", "")
	add(b.CPU > 0 && b.CPU < AnyCPU, "%.0f %% of a core", 100*b.CPU)
	return strings.Join(s, ", ")
}
