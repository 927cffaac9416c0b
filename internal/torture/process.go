package torture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// A victim is a client: its successive processes, its link, and the events that they recorded.
type victim struct {
	told  Task
	proxy *proxy
	log   *journal // of this process
	keep  string   // a folder in which packets and events are kept; empty: they are not

	mu      sync.Mutex // guards the following fields
	p       *process   // nil: none is running
	sick    string     // the state of the disk, as a word for the child
	read    reading
	events  []Event
	next    [3]int
	done    map[key]bool // accepted or noted, of QoS 1 and 2
	runs    int          // processes that have reported their start
	granted bool         // the subscription is granted
	rests   bool
}

// A process is one process of a victim.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
	ended  chan struct{}
	err    error // valid when ended is closed
}

// start starts a process.
func (v *victim) start() error {
	if err := v.catchUp(); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	told := v.told
	told.Next, told.Sick = v.next, v.sick
	spec, err := json.Marshal(&told)
	if err != nil {
		return err
	}
	p := &process{cmd: exec.Command(os.Args[0]), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	p.cmd.Stderr = &p.stderr
	if told.Trace {
		trace, err := os.OpenFile(filepath.Join(v.keep, told.Role+".trace"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer trace.Close()
		p.cmd.Stdout = trace
	}
	if p.stdin, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("torture: %w", err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.ended) }()
	v.p = p
	return nil
}

// restart starts a process and waits, up to a limit, until it reports that it runs, so that its lifetime
// counts from there even on a busy machine.
func (v *victim) restart() error {
	if err := v.start(); err != nil {
		return err
	}
	before := v.runs
	for deadline := time.Now().Add(5 * time.Second); v.runs == before && v.lives() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		if err := v.catchUp(); err != nil {
			return err
		}
	}
	return nil
}

// kill ends the process abruptly, and reports whether it lived until then.
func (v *victim) kill() bool {
	v.mu.Lock()
	p := v.p
	v.p = nil
	v.mu.Unlock()
	if p == nil {
		return true
	}
	select {
	case <-p.ended:
		v.log.write(Event{Who: v.told.Role, What: died, Text: fmt.Sprintf("%v: %.300s", p.err, p.stderr.String())})
		return false
	default:
	}
	p.cmd.Process.Kill()
	<-p.ended
	return true
}

// tell sends words to the process, if one runs.
func (v *victim) tell(words string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.p != nil {
		fmt.Fprintln(v.p.stdin, words)
	}
}

// ail sets the state of the disk of this process and later ones.
func (v *victim) ail(words string) {
	v.mu.Lock()
	v.sick = words
	v.mu.Unlock()
	if words == "" {
		words = wordHeal
	}
	v.tell(words)
}

// finish ends the process regularly.
func (v *victim) finish() error {
	v.tell(wordEnd)
	v.mu.Lock()
	p := v.p
	v.mu.Unlock()
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		v.kill()
		return fmt.Errorf("torture: the %s does not end: %s", v.told.Role, p.stderr.String())
	}
	if p.err != nil {
		return fmt.Errorf("torture: the %s failed: %w: %s", v.told.Role, p.err, p.stderr.String())
	}
	return nil
}

// catchUp reads what the processes have recorded.
func (v *victim) catchUp() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	more, err := v.read.more()
	if err != nil {
		return fmt.Errorf("torture: %w", err)
	}
	for _, e := range more {
		switch e.What {
		case intend:
			v.next[e.QoS] = max(v.next[e.QoS], e.N+1)
		case accepted, noted:
			if e.QoS > 0 {
				v.done[key{e.QoS, e.N}] = true
			}
		case began:
			v.runs++
		case subscribed:
			v.granted = true
		case drained:
			v.rests = true
		}
	}
	v.events = append(v.events, more...)
	return nil
}

// has reports whether this victim got everything that was promised to the other one.
func (v *victim) has(other *victim) bool {
	for k := range other.done {
		if !v.done[k] {
			return false
		}
	}
	return true
}

// alive returns nil while the process runs, and an error with its last output once it has ended.
func (v *victim) alive() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	select {
	case <-v.p.ended:
		return fmt.Errorf("torture: the %s ended by itself: %w: %.300s", v.told.Role, v.p.err, v.p.stderr.String())
	default:
		return nil
	}
}

// lives reports whether the process runs.
func (v *victim) lives() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.p == nil {
		return false
	}
	select {
	case <-v.p.ended:
		return false
	default:
		return true
	}
}
