package torture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// mostTold is the maximum number of findings in the text. The picture has all of them.
const mostTold = 20

// String describes the history in a few lines.
func (h *History) String() string {
	var s strings.Builder
	v := h.Verdict
	fmt.Fprintf(&s, "%s, seed %d, %v:", h.Options.Broker, h.Options.Seed, h.Took.Round(time.Second/10))
	done := make(map[Kind]int)
	for _, e := range h.Events {
		if e.What == act {
			done[Kind(e.Text)]++
		}
	}
	for _, k := range Kinds {
		if done[k] > 0 {
			fmt.Fprintf(&s, " %d %s,", done[k], k)
		}
	}
	s.WriteByte('\n')
	for q := range 3 {
		if v.Accepted[q]+v.Delivered[q] > 0 {
			fmt.Fprintf(&s, "QoS %d: %6d accepted, %6d delivered, %5d times again\n", q, v.Accepted[q], v.Delivered[q], v.Again[q])
		}
	}
	lost, twice := 0, 0
	for _, f := range v.Excused {
		if f.Fault == Lost {
			lost++
		} else {
			twice++
		}
	}
	fmt.Fprintf(&s, "%d of QoS 1 and 2 were to be lost in no case; %d came again at QoS 2 that were in work at a kill; "+
		"explained by what was done to the broker, or by its known fault: %d lost, %d duplicated\n", v.Safe, v.InWork, lost, twice)
	if !v.Failed() {
		s.WriteString("nothing was found")
		return s.String()
	}
	s.WriteString(h.sketch())
	fmt.Fprintf(&s, "%d findings:", len(v.Findings))
	for i, f := range v.Findings {
		if i == mostTold {
			fmt.Fprintf(&s, "\n  and %d more", len(v.Findings)-i)
			break
		}
		fmt.Fprintf(&s, "\n  +%.3fs %v", time.Unix(0, f.At).Sub(h.Begin).Seconds(), f)
	}
	return s.String()
}

// write writes the events, one line of JSON each.
func (h *History) write(path string) error {
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	for _, e := range h.Events {
		if err := lines.Encode(e); err != nil {
			return err
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}
