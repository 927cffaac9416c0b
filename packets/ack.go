package packets

// Puback answers a PUBLISH of QoS 1, section 3.4.
type Puback struct{ PacketID uint16 }

// Pubrec answers a PUBLISH of QoS 2, section 3.5.
type Pubrec struct{ PacketID uint16 }

// Pubrel answers PUBREC, section 3.6.
type Pubrel struct{ PacketID uint16 }

// Pubcomp answers PUBREL and ends a QoS 2 delivery, section 3.7.
type Pubcomp struct{ PacketID uint16 }
