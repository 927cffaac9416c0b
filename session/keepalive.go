package session

import (
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// keepAlive watches both directions of one Network Connection (section 3.1.2.10). What we send
// keeps the Server from closing; what we receive shows that the Server is alive.
type keepAlive struct {
	lastSent     time.Time // when the last Send was written
	lastReceived time.Time
	every        time.Duration // time from the last Send to the next PINGREQ; zero: keep alive is off
	margin       time.Duration
	pingN        uint64    // the Send of a PINGREQ that is not written yet
	giveUpAt     time.Time // the deadline if asked is set and nothing is received
	asked        bool      // a PINGREQ was sent since something was received
	probed       bool      // a second PINGREQ was sent because Tick was late
	paused       bool      // the driver does not read, so silence is ignored
}

// keepAliveSeconds returns the field of CONNECT. It is rounded up, so that we are never later than
// the Server expects.
func (s *Session) keepAliveSeconds() uint16 {
	if s.cfg.KeepAlive < 0 {
		return 0
	}
	return uint16((s.cfg.KeepAlive + time.Second - 1) / time.Second)
}

func (k *keepAlive) start(cfg *Config, now time.Time) {
	k.lastReceived = now
	if cfg.KeepAlive < 0 {
		return
	}
	k.margin = min(cfg.KeepAlive/10, time.Second)
	k.every = cfg.KeepAlive - k.margin
}

func (k *keepAlive) wrote(now time.Time, n uint64) {
	k.lastSent = now
	if n >= k.pingN {
		k.pingN = 0
	}
}

// Heard reports that bytes arrived, though perhaps not a whole packet. Any byte shows that the
// Server is alive.
func (s *Session) Heard(now time.Time) {
	k := &s.keep
	k.lastReceived = now
	k.asked = false
	k.probed = false
	k.giveUpAt = time.Time{}
}

// Paused reports that the driver has stopped reading: until Resumed, the ping timeout is suspended.
// PINGREQs are still sent.
func (s *Session) Paused() { s.keep.paused = true }

// Resumed reports that the driver reads again. The ping timeout restarts.
func (s *Session) Resumed(now time.Time) {
	k := &s.keep
	k.paused = false
	k.lastReceived = now
	if k.asked {
		k.giveUpAt = now.Add(s.cfg.PingTimeout)
	}
}

// pingAt returns when the next PINGREQ is due.
func (k *keepAlive) pingAt() time.Time {
	if k.every == 0 || k.pingN != 0 {
		return time.Time{}
	}
	at := k.lastSent.Add(k.every) // [MQTT-3.1.2-23]
	if !k.asked && !k.paused {
		at = earliest(at, k.lastReceived.Add(k.every))
	}
	return at
}

func (k *keepAlive) deadline() time.Time {
	if k.paused {
		return k.pingAt()
	}
	return earliest(k.pingAt(), k.giveUpAt)
}

func (s *Session) keepTick(now time.Time) {
	k := &s.keep
	if k.every == 0 {
		return
	}
	if !k.paused && k.asked && !now.Before(k.giveUpAt) {
		// If Tick is far too late, the machine was asleep, and data of the Server may be unread in
		// the socket. Send another PINGREQ.
		if k.probed || now.Sub(k.giveUpAt) < s.cfg.PingTimeout {
			s.close(ErrPingTimeout)
			return
		}
		k.probed = true
		k.giveUpAt = now.Add(s.cfg.PingTimeout)
		s.ping()
		return
	}
	if at := k.pingAt(); !at.IsZero() && !now.Before(at) {
		if !k.asked {
			k.asked = true
			k.giveUpAt = now.Add(k.margin + s.cfg.PingTimeout)
		}
		s.ping()
	}
}

func (s *Session) ping() {
	s.counters.Pings++
	s.conn.unponged++
	s.keep.pingN = s.transmit(packets.PINGREQ, nil, 0, 0)
}
