package packets

// Disconnect is the last packet of a Client (section 3.14).
type Disconnect struct{}

// Type returns DISCONNECT.
func (p *Disconnect) Type() Type { return DISCONNECT }

// AppendBinary appends the packet; it never fails.
func (p *Disconnect) AppendBinary(b []byte) ([]byte, error) {
	return append(b, byte(DISCONNECT)<<4, 0), nil
}

// String returns the name of the packet.
func (p *Disconnect) String() string { return "DISCONNECT" }

func (p *Disconnect) decode(*decoder) {}
