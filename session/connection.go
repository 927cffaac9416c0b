package session

import (
	"time"

	"github.com/mqtt311/mqtt311/packets"
)

// quickClose is how soon after CONNACK a close by the Server suggests a takeover.
const (
	quickClose  = 2 * time.Second
	quickCloses = 3
)

// connection is the state of one Network Connection.
type connection struct {
	number   uint64 // counts Network Connections
	sends    uint64 // number of the last Send, over all connections
	written  uint64 // all Sends up to this one were written
	connectN uint64 // the Send of CONNECT
	upSince  time.Time
	phase    phase
	held     bool    // something waits until the connection has lasted long enough
	proved   bool    // see Session.proved
	unponged uint16  // PINGREQs without their PINGRESP
	probe    uint16  // PINGRESPs until the one that proves the connection; 0 if it was received or not requested
	closedBy EndedBy // when phase is closing
	shed     bool    // new incoming messages of QoS 1 and 2 are shed
	hasShed  bool    // a message was shed, so all later ones are
	swept    bool    // Packet Identifiers were released again
	sweptAll bool    // and all that no message has
}

// Login is the part of CONNECT that may differ from one Network Connection to the next.
type Login struct {
	HasUserName bool
	UserName    string
	HasPassword bool
	Password    []byte
	Will        *packets.Will
}

// Opened must be called when a Network Connection has been opened. It puts out CONNECT as the first
// packet [MQTT-3.1.0-1]. It returns an error and sends nothing if the login cannot be encoded or a
// Network Connection is already up.
func (s *Session) Opened(now time.Time, login Login) error {
	if s.conn.phase != offline {
		return &ProtocolError{Packet: packets.CONNECT, Spec: "MQTT-3.1.0-2", Reason: "a network connection is up already"}
	}
	p := &packets.Connect{
		ClientID:     s.cfg.ClientID, // names the session at both ends [MQTT-3.1.3-2]
		CleanSession: s.cfg.CleanSession,
		KeepAlive:    s.keepAliveSeconds(),
		Will:         login.Will,
		HasUserName:  login.HasUserName,
		UserName:     login.UserName,
		HasPassword:  login.HasPassword,
		Password:     login.Password,
	}
	if err := p.Check(); err != nil {
		return err
	}
	s.conn = connection{phase: opening, number: s.conn.number + 1, sends: s.conn.sends, written: s.conn.written}
	s.keep = keepAlive{lastReceived: now, lastSent: now}
	s.conn.connectN = s.transmit(packets.CONNECT, p, 0, 0)
	return nil
}

// Written reports that all Sends up to number n were written to the Network Connection. It
// completes QoS 0 messages and restarts the keep alive interval.
func (s *Session) Written(now time.Time, n uint64) {
	if n <= s.conn.written {
		return
	}
	s.conn.written = n
	s.keep.wrote(now, n)
	s.send.wrote0(s, n)
	s.recv.wrote(n)
}

// Passed reports that Send n was written ahead of earlier ones that still wait for their records.
// Only PINGREQ, PUBLISH of QoS 0 and DISCONNECT may be; so a slow disk does not delay keep alive.
func (s *Session) Passed(now time.Time, n uint64) {
	s.keep.wrote(now, n)
	s.send.wrote0(s, n)
}

// Plain is a fast path of Received for a PUBLISH of QoS 0 [MQTT-4.3.1-1], which it returns for
// delivery. For any other packet it changes nothing and returns false.
func (s *Session) Plain(now time.Time, p packets.Packet) (*packets.Publish, bool) {
	pub, ok := p.(*packets.Publish)
	if !ok || pub.QoS != packets.AtMostOnce || s.conn.phase != up {
		return nil, false
	}
	s.Heard(now)
	return pub, true
}

// Received must be called with each packet that arrives. The Session does not retain the packet.
func (s *Session) Received(now time.Time, p packets.Packet) {
	s.Heard(now)
	switch s.conn.phase {
	case offline, closing:
		return // received after the connection was given up
	case opening:
		ack, ok := p.(*packets.Connack)
		if !ok {
			s.violation(p.Type(), "MQTT-3.2.0-1", "came before CONNACK")
			return
		}
		s.connack(now, ack)
		return
	}
	switch p := p.(type) {
	case *packets.Publish:
		s.publish(p)
		return // nothing new can be sent
	case *packets.Puback:
		s.puback(p.PacketID)
	case *packets.Pubrec:
		s.pubrec(p.PacketID)
	case *packets.Pubrel:
		s.pubrel(p.PacketID)
	case *packets.Pubcomp:
		s.pubcomp(p.PacketID)
	case *packets.Suback:
		s.suback(p)
	case *packets.Unsuback:
		s.unsuback(p.PacketID)
	case *packets.Pingresp:
		s.conn.pong()
	case *packets.Connack:
		s.violation(packets.CONNACK, "MQTT-3.2.0-1", "came twice")
	case *packets.Disconnect:
		s.counters.ServerDisconnects++
		s.close(ErrServerDisconnect)
		s.conn.closedBy = ByPeer
	default:
		s.violation(p.Type(), "", "is never sent by a server (table 2.1)")
	}
	s.pump(now)
}

func (s *Session) connack(now time.Time, p *packets.Connack) {
	if p.Code != packets.Accepted {
		// The Server closes as well [MQTT-3.2.2-5], whether because of the protocol level
		// [MQTT-3.1.2-2], the ClientID [MQTT-3.1.3-9] or anything else.
		s.close(&RefusedError{p.Code})
		return
	}
	if p.SessionPresent && s.cfg.CleanSession {
		s.violation(packets.CONNACK, "MQTT-3.2.2-1", "session present although a clean session was asked for")
		return
	}
	s.conn.phase = up // [MQTT-3.1.4-4]; before it nothing is sent that a refusal would lose [MQTT-3.1.4-5]
	s.conn.upSince = now
	s.keep.start(&s.cfg, now)
	s.send.resumed = p.SessionPresent // [MQTT-3.2.2-2]
	s.notify(Event{Kind: EventConnected, SessionPresent: p.SessionPresent})
	if !p.SessionPresent {
		s.sessionAbsent() // [MQTT-3.2.2-3]
	}
	s.pump(now)
}

// sessionAbsent adapts to a Server that has lost the session: incoming Packet Identifiers are
// invalid, and there are no subscriptions. Outgoing messages are sent again nevertheless
// [MQTT-4.4.0-1], with DUP if they may have been sent: MQTT 3.1.1 makes that depend on
// CleanSession, not on Session Present.
func (s *Session) sessionAbsent() {
	known := s.recv.discard(s)
	s.subs.oweAll()
	uncertain := s.send.uncertain(s)
	if known > 0 || s.conn.number > 1 && !s.cfg.CleanSession {
		s.notify(Event{Kind: EventSessionLost, Count: s.send.live})
	}
	if uncertain > 0 {
		s.notify(Event{Kind: EventReleasedUncertain, Count: uncertain})
	}
}

// Shed says whether new incoming messages of QoS 1 and 2 are shed, that is, neither delivered nor
// acknowledged, so that the Server sends them again on the next Network Connection. It is for a
// driver that must go on reading but has no room for more messages. Redelivered messages are
// recognised as usual; they need no room.
//
// Once a message was shed (see [Session.HasShed]), all later ones on this Network Connection are
// shed too, even after Shed(false), because acknowledgements must be sent in the order of arrival.
// The driver must then close the connection [MQTT-4.8.0-2], when its own requests have been
// answered.
func (s *Session) Shed(on bool) { s.conn.shed = on }

// HasShed reports whether an incoming message was shed on this Network Connection; see
// [Session.Shed].
func (s *Session) HasShed() bool { return s.conn.hasShed }

// Hold says whether new requests and new messages of QoS 1 and 2 wait for the next Network
// Connection, so that Outstanding becomes false even if the application keeps making requests.
func (s *Session) Hold(now time.Time, on bool) {
	if s.send.hold != on {
		s.send.hold = on
		s.pump(now)
	}
}

// Disconnect ends the Network Connection gracefully: it puts out DISCONNECT as the last packet
// [MQTT-3.14.4-2], followed by Close [MQTT-3.14.4-1]. The Server then discards the Will
// [MQTT-3.14.4-3]. Before CONNACK it puts out only Close, and without a Network Connection nothing.
func (s *Session) Disconnect() {
	switch s.conn.phase {
	case up:
		s.transmit(packets.DISCONNECT, nil, 0, 0)
		s.close(nil)
	case opening:
		s.close(nil)
	}
}
