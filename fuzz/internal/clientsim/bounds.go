package clientsim

import "time"

// checkBounds judges what the client holds. It is called by a goroutine of the program, without
// world.mu. In a bubble no time passes while a call works, so one that took time has waited for
// something: Stats and Backlog wait for nothing, whatever the disk does.
func (p *process) checkBounds() {
	began := time.Now()
	stats := p.client.Stats()
	messages, bytes := p.client.Backlog()
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
	// The inbox may double, and small messages may be more; a loop puts back what it took.
	if most := max(2*cfg.InboxMessages, cfg.InboxBytes/512) + 1 + cfg.InboxMessages/8 + 1; messages > most {
		w.failf("%d messages wait in the inbox, %d may", messages, most)
	}
	if most := 2*cfg.InboxBytes + largest; bytes > most {
		w.failf("%d bytes wait in the inbox, %d may", bytes, most)
	}
	// What is on its way stands beside the queue, and so does what an earlier process left.
	if most := p.restored + cfg.QueueMessages + cfg.MaxInflight; stats.Unfinished > most {
		w.failf("%d messages are unfinished, %d may be", stats.Unfinished, most)
	}
}

// largest is how many bytes of topic and payload a message has at the most.
const largest = len(topic) + 45
