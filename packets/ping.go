package packets

// Pingreq asks the Server to show that it is alive (section 3.12).
type Pingreq struct{}

// Type returns PINGREQ.
func (p *Pingreq) Type() Type { return PINGREQ }

// AppendBinary appends the packet; it never fails.
func (p *Pingreq) AppendBinary(b []byte) ([]byte, error) { return append(b, byte(PINGREQ)<<4, 0), nil }

// String returns the name of the packet.
func (p *Pingreq) String() string { return "PINGREQ" }

func (p *Pingreq) decode(*decoder) {}

// Pingresp answers PINGREQ (section 3.13).
type Pingresp struct{}

// Type returns PINGRESP.
func (p *Pingresp) Type() Type { return PINGRESP }

// AppendBinary appends the packet; it never fails.
func (p *Pingresp) AppendBinary(b []byte) ([]byte, error) {
	return append(b, byte(PINGRESP)<<4, 0), nil
}

// String returns the name of the packet.
func (p *Pingresp) String() string { return "PINGRESP" }

func (p *Pingresp) decode(*decoder) {}
