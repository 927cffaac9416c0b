package packets

import (
	"bytes"
	"strconv"
)

// Connect is the first packet of a Client and requests a session (section 3.1).
type Connect struct {
	ClientID     string // may be empty if CleanSession [MQTT-3.1.3-7]
	CleanSession bool   // section 3.1.2.4
	KeepAlive    uint16 // in seconds; 0 turns it off (section 3.1.2.10)
	Will         *Will  // nil if there is none
	HasUserName  bool   // whether UserName is sent, even if empty [MQTT-3.1.2-19]
	UserName     string `json:"-"`
	HasPassword  bool   // whether Password is sent, even if empty [MQTT-3.1.2-21]; requires HasUserName [MQTT-3.1.2-22]
	Password     []byte `json:"-"`
}

// Will is the message that the Server publishes when the Network Connection ends without a
// DISCONNECT (section 3.1.2.5).
type Will struct {
	Topic   string
	Payload []byte `json:"-"` // at most 65,535 bytes; may be empty
	QoS     QoS
	Retain  bool
}

const (
	protocolName  = "MQTT"
	protocolLevel = 4

	flagCleanSession = 0x02
	flagWill         = 0x04
	flagWillRetain   = 0x20
	flagPassword     = 0x40
	flagUserName     = 0x80
	willQoSShift     = 3
)

// Type returns CONNECT.
func (p *Connect) Type() Type { return CONNECT }

// Check returns nil if the packet may be sent, and otherwise an [*EncodeError].
func (p *Connect) Check() error {
	if p.ClientID == "" && !p.CleanSession {
		return &EncodeError{CONNECT, "ClientID", "MQTT-3.1.3-7", "is empty, which needs CleanSession"}
	}
	if err := checkText(CONNECT, "ClientID", p.ClientID, "MQTT-3.1.3-4"); err != nil {
		return err
	}
	if err := p.Will.check(); err != nil {
		return err
	}
	if err := checkText(CONNECT, "UserName", p.UserName, "MQTT-3.1.3-11"); err != nil {
		return err
	}
	switch {
	case !p.HasUserName && p.UserName != "":
		return &EncodeError{CONNECT, "UserName", "MQTT-3.1.2-18", "is set without HasUserName"}
	case !p.HasPassword && len(p.Password) > 0:
		return &EncodeError{CONNECT, "Password", "MQTT-3.1.2-20", "is set without HasPassword"}
	case p.HasPassword && !p.HasUserName:
		return &EncodeError{CONNECT, "Password", "MQTT-3.1.2-22", "needs a user name"}
	}
	return checkBytes(CONNECT, "Password", p.Password)
}

func (w *Will) check() error {
	if w == nil {
		return nil
	}
	if w.QoS > ExactlyOnce {
		return &EncodeError{CONNECT, "Will.QoS", "MQTT-3.1.2-14", "is above 2"}
	}
	if err := checkName(CONNECT, "Will.Topic", w.Topic, "MQTT-3.1.3-10"); err != nil {
		return err
	}
	return checkBytes(CONNECT, "Will.Payload", w.Payload)
}

// AppendBinary appends the packet; see [Packet].
func (p *Connect) AppendBinary(b []byte) ([]byte, error) {
	if err := p.Check(); err != nil {
		return b, err
	}
	flags, n := byte(0), 10+2+len(p.ClientID)
	if p.CleanSession {
		flags |= flagCleanSession
	}
	if w := p.Will; w != nil {
		flags |= flagWill | byte(w.QoS)<<willQoSShift
		if w.Retain {
			flags |= flagWillRetain
		}
		n += 4 + len(w.Topic) + len(w.Payload)
	}
	if p.HasUserName {
		flags |= flagUserName
		n += 2 + len(p.UserName)
	}
	if p.HasPassword {
		flags |= flagPassword
		n += 2 + len(p.Password)
	}
	b = appendHeader(b, CONNECT, 0, n)
	b = appendText(b, protocolName)
	b = append(b, protocolLevel, flags)
	b = appendUint16(b, p.KeepAlive)
	// [MQTT-3.1.3-1] [MQTT-3.1.3-3]: Client Identifier, Will Topic, Will Message,
	// User Name, Password.
	b = appendText(b, p.ClientID)
	if w := p.Will; w != nil {
		b = appendText(b, w.Topic) // [MQTT-3.1.2-9]
		b = appendText(b, w.Payload)
	}
	if p.HasUserName {
		b = appendText(b, p.UserName) // [MQTT-3.1.2-19]
	}
	if p.HasPassword {
		b = appendText(b, p.Password) // [MQTT-3.1.2-21]
	}
	return b, nil
}

// decode also refuses packets that a Server must answer before it closes. They are identified by
// Spec of the [FormatError]: "MQTT-3.1.2-2" for [UnacceptableProtocolVersion] and "MQTT-3.1.3-7"
// for [IdentifierRejected].
func (p *Connect) decode(d *decoder) {
	*p = Connect{}
	at := d.i
	if name := d.text("protocol name", "MQTT-3.1.2-1", "MQTT-3.1.2-1"); d.err == nil && name != protocolName {
		d.fail(at, "MQTT-3.1.2-1", "protocol name is "+strconv.Quote(name)+", not \"MQTT\"")
	}
	at = d.i
	if level := d.byte("protocol level", "MQTT-3.1.2-2"); d.err == nil && level != protocolLevel {
		d.fail(at, "MQTT-3.1.2-2", "protocol level is "+strconv.Itoa(int(level))+", not 4")
	}
	at = d.i
	flags := d.byte("connect flags", "")
	checkConnectFlags(d, at, flags)
	p.CleanSession = flags&flagCleanSession != 0
	p.KeepAlive = d.uint16("keep alive", "")
	// [MQTT-3.1.3-1]: Client Identifier, Will Topic, Will Message, User Name, Password.
	at = d.i
	p.ClientID = d.text("client identifier", "MQTT-3.1.3-3", "MQTT-3.1.3-4")
	if p.ClientID == "" && !p.CleanSession {
		d.fail(at, "MQTT-3.1.3-7", "client identifier is empty without clean session")
	}
	if flags&flagWill != 0 {
		p.Will = &Will{
			Topic:   d.topic("will topic", "MQTT-3.1.2-9", "MQTT-3.1.3-10"),
			Payload: d.bytes("will message", "MQTT-3.1.2-9"),
			QoS:     QoS(flags >> willQoSShift & 3),
			Retain:  flags&flagWillRetain != 0,
		}
	}
	if p.HasUserName = flags&flagUserName != 0; p.HasUserName { // [MQTT-3.1.2-18]
		p.UserName = d.text("user name", "MQTT-3.1.2-19", "MQTT-3.1.3-11")
	}
	if p.HasPassword = flags&flagPassword != 0; p.HasPassword { // [MQTT-3.1.2-20]
		p.Password = d.bytes("password", "MQTT-3.1.2-21")
	}
	if d.left() > 0 {
		d.fail(d.i, "MQTT-3.1.3-1", "bytes follow the last field that the connect flags announce")
	}
}

func checkConnectFlags(d *decoder, at int, flags byte) {
	willQoS := flags >> willQoSShift & 3
	switch {
	case d.err != nil:
	case flags&1 != 0:
		d.fail(at, "MQTT-3.1.2-3", "reserved connect flag is set")
	case flags&flagWill == 0 && willQoS != 0:
		d.fail(at, "MQTT-3.1.2-13", "will QoS without a will [MQTT-3.1.2-11]")
	case flags&flagWill == 0 && flags&flagWillRetain != 0:
		d.fail(at, "MQTT-3.1.2-15", "will retain without a will [MQTT-3.1.2-11]")
	case willQoS == 3:
		d.fail(at, "MQTT-3.1.2-14", "will QoS is 3")
	case flags&flagPassword != 0 && flags&flagUserName == 0:
		d.fail(at, "MQTT-3.1.2-22", "password without a user name")
	}
}

// Clone returns a copy that shares no memory with p.
func (p *Connect) Clone() *Connect {
	c := *p
	c.Password = bytes.Clone(p.Password)
	if p.Will != nil {
		w := *p.Will
		w.Payload = bytes.Clone(w.Payload)
		c.Will = &w
	}
	return &c
}

// String returns the packet in one line, without user name and password. The receiver is a value,
// so that a Connect passed by value to a log does not reveal them either.
func (p Connect) String() string {
	s := "CONNECT client=" + strconv.Quote(p.ClientID) + " clean=" + strconv.FormatBool(p.CleanSession) +
		" keepalive=" + strconv.Itoa(int(p.KeepAlive)) + "s"
	if p.Will != nil {
		s += " " + p.Will.String()
	}
	if p.HasUserName {
		s += " user=yes"
	}
	if p.HasPassword {
		s += " password=yes"
	}
	return s
}

// GoString returns the same as String, so that the format %#v does not reveal secrets either.
func (p Connect) GoString() string { return p.String() }

// String returns the Will in one line, without its payload.
func (w Will) String() string {
	return "will=" + strconv.Quote(w.Topic) + " willqos=" + strconv.Itoa(int(w.QoS)) +
		" willretain=" + strconv.FormatBool(w.Retain) + " willsize=" + strconv.Itoa(len(w.Payload))
}

// GoString returns the same as String.
func (w Will) GoString() string { return w.String() }
