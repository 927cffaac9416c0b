package packets

import "strconv"

// Connack answers CONNECT (section 3.2).
type Connack struct {
	SessionPresent bool
	Code           ConnectCode
}

// ConnectCode is a Connect Return code (table 3.1).
type ConnectCode byte

// The Connect Return codes. The values 6 to 255 are reserved; they are accepted when read, so that
// a Client can report the refusal.
const (
	Accepted ConnectCode = iota
	UnacceptableProtocolVersion
	IdentifierRejected
	ServerUnavailable
	BadUserNameOrPassword
	NotAuthorized
)

var codeNames = [...]string{
	"connection accepted",
	"unacceptable protocol version",
	"client identifier rejected",
	"server unavailable",
	"bad user name or password",
	"not authorized",
}

// String returns the meaning of the code, as in table 3.1.
func (c ConnectCode) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "reserved code " + strconv.Itoa(int(c))
}

// Type returns CONNACK.
func (p *Connack) Type() Type { return CONNACK }

// AppendBinary appends the packet; see [Packet].
func (p *Connack) AppendBinary(b []byte) ([]byte, error) {
	if p.Code > NotAuthorized {
		return b, &EncodeError{CONNACK, "Code", "MQTT-3.2.2-6", "is reserved (table 3.1)"}
	}
	flags := byte(0)
	if p.SessionPresent {
		if p.Code != Accepted {
			return b, &EncodeError{CONNACK, "SessionPresent", "MQTT-3.2.2-4", "is set with a refusal"}
		}
		flags = 1
	}
	return append(appendHeader(b, CONNACK, 0, 2), flags, byte(p.Code)), nil
}

func (p *Connack) decode(d *decoder) {
	at := d.i
	flags := d.byte("acknowledge flags", "")
	p.Code = ConnectCode(d.byte("return code", ""))
	p.SessionPresent = flags&1 != 0
	switch {
	case flags > 1:
		d.fail(at, "", "reserved acknowledge flags are set (section 3.2.2.1)")
	case p.SessionPresent && p.Code != Accepted:
		// A refusal is reported with its code whatever its flags say; [MQTT-3.2.2-4]
		// binds the Server and changes nothing for a Client that is refused.
		p.SessionPresent = false
	}
}

// String returns the packet in one line.
func (p *Connack) String() string {
	return "CONNACK sp=" + strconv.Itoa(bit(p.SessionPresent)) + " code=" + strconv.Itoa(int(p.Code))
}

func bit(v bool) int {
	if v {
		return 1
	}
	return 0
}
