package torture

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/mqtt311/mqtt311/internal/program"
)

// perform does an act, undoes it, and records it.
func (r *run) perform(a Act) error {
	e := Event{Who: a.Who, What: act, Text: string(a.Kind), At: time.Now().UnixNano(), N: a.Size}
	var err error
	switch a.Kind {
	case BrokerKill, BrokerStop, Rollback:
		err = r.performOnBroker(a, &e)
	case Kill, Stop:
		err = r.performOnProcess(a)
	case Stall, Full:
		words := wordStall
		if a.Kind == Full {
			words = fmt.Sprintf("%s %d %t", wordFull, a.Size, a.Hard)
		}
		v := r.victims[a.Who]
		v.ail(words)
		time.Sleep(a.Hold)
		v.ail("")
	default:
		performOnLink(a, r.victims[a.Who].proxy)
	}
	e.Until = time.Now().UnixNano()
	r.log.write(e)
	return err
}

func (r *run) performOnProcess(a Act) error {
	v := r.victims[a.Who]
	if a.Kind == Kill {
		v.kill()
		time.Sleep(a.Hold)
		return v.restart()
	}
	if !v.lives() {
		return nil // it has ended; the next kill or rest reports that
	}
	if err := v.p.stop(true); err != nil {
		return err
	}
	time.Sleep(a.Hold)
	return v.p.stop(false)
}

func performOnLink(a Act, p *proxy) {
	switch a.Kind {
	case Cut:
		c := &cut{way: down, after: a.Size, hard: a.Hard}
		if a.Up {
			c.way = up
		}
		p.change(func() { p.cut = c })
		for over := time.Now().Add(a.Hold); time.Now().Before(over) && p.awaits(c); {
			time.Sleep(5 * time.Millisecond)
		}
		p.change(func() { p.cut = nil }) // in case too few bytes passed
	case Dead:
		p.change(func() { p.dead = [2]bool{up: a.Up, down: a.Down} })
		time.Sleep(a.Hold)
		if a.Hard {
			p.cutAll(true)
		}
		p.change(func() { p.dead = [2]bool{} })
	case Refuse:
		p.change(func() { p.refuse, p.hang = true, !a.Hard })
		p.cutAll(a.Hard)
		time.Sleep(a.Hold)
		p.change(func() { p.refuse = false })
	case Delay:
		p.change(func() { p.delay = a.Hold / 30 })
		time.Sleep(a.Hold)
		p.change(func() { p.delay = 0 })
	}
}

// performOnBroker kills, stops or rolls back the broker. It sets e.Since to the time up to which the
// broker still knows what it had said.
func (r *run) performOnBroker(a Act, e *Event) error {
	s := r.server
	switch a.Kind {
	case BrokerStop:
		s.pause()
		time.Sleep(a.Hold)
		s.resume()
		return nil
	case Rollback:
		r.copies++
		copied := filepath.Join(r.dir, fmt.Sprintf("snapshot-%d", r.copies))
		since, err := s.copy(copied)
		if err != nil {
			return err
		}
		time.Sleep(a.Hold)
		e.At, e.Since = time.Now().UnixNano(), since.UnixNano()
		s.kill()
		if err := program.ReplaceFolder(s.folder, copied); err != nil {
			return err
		}
	default:
		e.At = time.Now().UnixNano()
		e.Since = e.At
		s.kill()
		if s.saved != nil {
			saved, err := s.saved(s.folder)
			if err != nil {
				return err
			}
			e.Since = saved.UnixNano()
		}
		time.Sleep(a.Hold)
	}
	return s.again()
}
