package packets

import "strconv"

// Connect asks the Server for a session, section 3.1.
type Connect struct {
	ClientID     string // may be empty if CleanSession [MQTT-3.1.3-7]
	CleanSession bool   // section 3.1.2.4
	KeepAlive    uint16 // seconds; 0 turns it off, section 3.1.2.10
	Will         *Will  // nil for none
	HasUserName  bool   // a user name is sent, even if empty [MQTT-3.1.2-19]
	UserName     string
	HasPassword  bool // a password is sent, even if empty [MQTT-3.1.2-21]; needs HasUserName [MQTT-3.1.2-22]
	Password     []byte
}

// Will is the message that the Server publishes when the Network Connection
// ends without a DISCONNECT, section 3.1.2.5.
type Will struct {
	Topic   string
	Payload []byte // at most 65,535 bytes; may be empty
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

// A VersionError says that a CONNECT is not of MQTT 3.1.1. A Server answers an
// unknown level of a known protocol with [UnacceptableProtocolVersion]
// [MQTT-3.1.2-2].
type VersionError struct {
	Name  string
	Level byte
}

func (e *VersionError) Error() string {
	return "packets: CONNECT: protocol " + strconv.Quote(e.Name) + " level " + strconv.Itoa(int(e.Level)) + " is not MQTT 3.1.1"
}

// Type returns CONNECT.
func (p *Connect) Type() Type { return CONNECT }

// Check returns nil if the packet may be sent, else an [*EncodeError].
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

func (p *Connect) decode(d *decoder) {
	*p = Connect{}
	start := d.i
	name := d.string("protocol name", "")
	level := d.byte("protocol level")
	if d.err == nil && (name != protocolName || level != protocolLevel) {
		d.fail(start, "MQTT-3.1.2-2", (&VersionError{name, level}).Error()[len("packets: CONNECT: "):])
	}
	at := d.i
	flags := d.byte("connect flags")
	p.KeepAlive = d.uint16("keep alive")
	checkConnectFlags(d, at, flags)
	p.CleanSession = flags&flagCleanSession != 0
	at = d.i
	p.ClientID = d.string("client identifier", "MQTT-3.1.3-4")
	if d.err == nil && p.ClientID == "" && !p.CleanSession {
		d.fail(at, "MQTT-3.1.3-7", "client identifier is empty without clean session")
	}
	if flags&flagWill != 0 && d.err == nil {
		p.Will = &Will{
			Topic:   d.topic("will topic", "MQTT-3.1.3-10"),
			Payload: d.bytes("will message"),
			QoS:     QoS(flags >> willQoSShift & 3),
			Retain:  flags&flagWillRetain != 0,
		}
	}
	if p.HasUserName = flags&flagUserName != 0; p.HasUserName {
		p.UserName = d.string("user name", "MQTT-3.1.3-11")
	}
	if p.HasPassword = flags&flagPassword != 0; p.HasPassword {
		p.Password = d.bytes("password")
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

// String returns the packet in one line, without user name and password.
func (p *Connect) String() string {
	s := "CONNECT client=" + strconv.Quote(p.ClientID) + " clean=" + strconv.FormatBool(p.CleanSession) +
		" keepalive=" + strconv.Itoa(int(p.KeepAlive)) + "s"
	if w := p.Will; w != nil {
		s += " will=" + strconv.Quote(w.Topic) + " willqos=" + strconv.Itoa(int(w.QoS)) +
			" willretain=" + strconv.FormatBool(w.Retain) + " willsize=" + strconv.Itoa(len(w.Payload))
	}
	if p.HasUserName {
		s += " user=yes"
	}
	if p.HasPassword {
		s += " password=yes"
	}
	return s
}
