package clientsim

import (
	"time"

	"github.com/mqtt311/mqtt311/client"
)

// checkBounds checks what the client holds. A goroutine of the program calls it, without world.mu.
// In a bubble no time passes while a call computes, so a call that took time has waited: Stats and
// Backlog must wait for nothing, whatever the disk does.
func (p *process) checkBounds() {
	began := time.Now()
	messages, bytes := p.client.Backlog()
	stats := p.client.Stats()
	took := time.Since(began)
	w, cfg := p.w, &p.w.profile.config
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return
	}
	if took > 0 {
		w.failf("Stats and Backlog took %v", took)
	}
	// The inbox may double, or hold more messages if they are small; a loop puts back what it took ahead.
	mostMessages, mostBytes := max(2*cfg.InboxMessages, cfg.InboxBytes/768)+1+cfg.InboxMessages/8+1, 2*cfg.InboxBytes+largest
	if messages <= mostMessages && bytes <= mostBytes {
		p.paused = stats.PausedFor
	}
	more := behindPauses(cfg, stats.PausedFor-p.paused, w.profile.window)
	if mostMessages += more; messages > mostMessages {
		w.failf("%d messages wait in the inbox, %d may", messages, mostMessages)
	}
	if mostBytes += more * largest; bytes > mostBytes {
		w.failf("%d bytes wait in the inbox, %d may", bytes, mostBytes)
	}
	// Messages in flight and messages of an earlier process do not count towards the queue.
	if most := p.restored + cfg.QueueMessages + cfg.MaxInflight; stats.Unfinished > most {
		w.failf("%d messages are unfinished, %d may be", stats.Unfinished, most)
	}
}

// behindPauses returns how many messages may wait above the bounds of the inbox after reading has paused for
// this long since the inbox was within them. A session that ends with its connection can leave nothing to the
// server, and PINGRESP has to be read: so the client takes in one packet after each pause. The one from the
// pause before may still be on its way into the inbox. When the connection ends, everything received by then
// is taken in, too: at most a window.
func behindPauses(cfg *client.Config, paused time.Duration, window int) int {
	if !cfg.CleanSession {
		return 0
	}
	return window + 1 + int(max(0, paused)/min(mostPause, cfg.KeepAlive))
}

// mostPause is the longest time that the client does not read, if keep alive is longer.
const mostPause = 8 * time.Second

// largest is the largest number of bytes of topic and payload in a message.
const largest = len(topic) + 45
