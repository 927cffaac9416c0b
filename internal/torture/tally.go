package torture

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// A tally is what the journal says.
type tally struct {
	offset     int64
	subscribed bool
	drained    bool

	intended [3]int          // numbers below it, by QoS
	taken    [3]map[int]bool // numbers that were accepted
	notes    [3]map[int]int  // how often a number was noted

	last   int          // noted at QoS 2 in this run; -1: none
	inWork map[int]bool // the last ones at QoS 2 of runs that were killed
	again  int          // noted again at QoS 2 after such a kill
	twice  map[int]int  // noted again at QoS 2 though it was not in work
	torn   int          // lines
}

func newTally() *tally {
	t := &tally{last: -1, inWork: make(map[int]bool), twice: make(map[int]int)}
	for q := range 3 {
		t.taken[q], t.notes[q] = make(map[int]bool), make(map[int]int)
	}
	return t
}

// read takes what was added to the journal. A last line that is not whole yet is left for later.
func (t *tally) read(journal string) error {
	f, err := os.Open(journal)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, t.offset, 1<<40))
	if err != nil {
		return err
	}
	// Each line begins with its newline.
	whole := bytes.LastIndexByte(text, '\n') + 1
	if bytes.HasSuffix(text, []byte(" .")) {
		whole = len(text)
	}
	t.offset += int64(whole)
	for line := range strings.SplitSeq(string(text[:whole]), "\n") {
		if line != "" {
			if err := t.take(line); err != nil {
				return fmt.Errorf("journal: %q: %w", line, err)
			}
		}
	}
	return nil
}

func (t *tally) take(line string) error {
	words, ok := strings.CutSuffix(line, " .")
	if !ok {
		t.torn++
		return nil
	}
	event, numbers, _ := strings.Cut(words, " ")
	var qos, n int
	switch event {
	case "run":
		if t.last >= 0 {
			t.inWork[t.last] = true
		}
		t.last = -1
		return nil
	case "subscribed":
		t.subscribed = true
		return nil
	case "drained":
		t.drained = true
		return nil
	}
	if _, err := fmt.Sscanf(numbers, "%d %d", &qos, &n); err != nil {
		return err
	}
	if qos != 1 && qos != 2 {
		return fmt.Errorf("QoS %d", qos)
	}
	switch event {
	case "intend":
		t.intended[qos] = max(t.intended[qos], n+1)
	case "accepted":
		t.taken[qos][n] = true
	case "noted":
		t.note(qos, n)
	default:
		return fmt.Errorf("no such event")
	}
	return nil
}

func (t *tally) note(qos, n int) {
	t.notes[qos][n]++
	if qos != 2 {
		return
	}
	switch {
	case t.notes[2][n] == 1:
	case t.inWork[n]:
		t.again++
	default:
		t.twice[n]++
	}
	delete(t.inWork, n)
	t.last = n
}

// next is the first number that was never intended. One whose line was torn was never published.
func (t *tally) next() [3]int { return t.intended }

func (t *tally) accepted() int { return len(t.taken[1]) + len(t.taken[2]) }
func (t *tally) consumed() int { return len(t.notes[1]) + len(t.notes[2]) }

// noted is how many numbers of the QoS that is behind were noted.
func (t *tally) noted() int { return min(len(t.notes[1]), len(t.notes[2])) }

// A Report is what was counted, by QoS where there are two.
type Report struct {
	Kills int
	Cuts  int64 // of the proxy
	Seed  uint64
	Time  time.Duration

	Published [3]Direction // by the child, seen by the observer
	Consumed  [3]Direction // by the child, published by the observer
}

// A Direction is one way at one QoS.
type Direction struct {
	Promised int // numbers that somebody was told to be safe
	Lost     int // of those
	Unsure   int // numbers under way at a kill, which may arrive or not
	Again    int // arrived more than once; at QoS 2 this is wrong in what is published
	InWork   int // consumed again because it was in work at a kill; no client can help that
	Broken   int // consumed again because the Server published it again after PUBREL
}

// compare counts what the child published against what the observer saw, and the other way round.
func (t *tally) compare(o *observer, saw *witness, fed int) *Report {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := new(Report)
	for q := 1; q <= 2; q++ {
		d := &r.Published[q]
		d.Promised = len(t.taken[q])
		d.Unsure = t.intended[q] - d.Promised
		for n := range t.taken[q] {
			if o.seen[q][n] == 0 {
				d.Lost++
			}
		}
		for _, times := range o.seen[q] {
			d.Again += times - 1
		}
		c := &r.Consumed[q]
		c.Promised = fed
		for n := range fed {
			if t.notes[q][n] == 0 {
				c.Lost++
			}
		}
	}
	for _, times := range t.notes[1] {
		r.Consumed[1].Again += times - 1
	}
	c := &r.Consumed[2]
	c.InWork = t.again
	for n, times := range t.twice {
		broken := min(times, saw.again[n])
		c.Broken += broken
		c.Again += times - broken
	}
	return r
}

// Lost is how many messages did not arrive.
func (r *Report) Lost() int {
	return r.Published[1].Lost + r.Published[2].Lost + r.Consumed[1].Lost + r.Consumed[2].Lost
}

// Duplicated is how many messages came again at QoS 2 that must not.
func (r *Report) Duplicated() int { return r.Published[2].Again + r.Consumed[2].Again }

func (r *Report) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d kills, %d cuts, %v, seed %d\n", r.Kills, r.Cuts, r.Time, r.Seed)
	for q := 1; q <= 2; q++ {
		for _, d := range []struct {
			name string
			Direction
		}{{"published", r.Published[q]}, {"consumed", r.Consumed[q]}} {
			fmt.Fprintf(&s, "%-9s at QoS %d: %6d promised, %d lost, %d again", d.name, q, d.Promised, d.Lost, d.Again)
			switch {
			case d.name == "published":
				fmt.Fprintf(&s, "; besides %d under way at a kill", d.Unsure)
			case q == 2:
				fmt.Fprintf(&s, "; besides %d that were in work at a kill, and %d that the server sent again after PUBREL", d.InWork, d.Broken)
			}
			s.WriteByte('\n')
		}
	}
	fmt.Fprintf(&s, "%d lost, %d duplicated at QoS 2", r.Lost(), r.Duplicated())
	return s.String()
}
