package packets

// Unsubscribe gives filters up, section 3.10.
type Unsubscribe struct {
	PacketID uint16
	Filters  []string // one at the least [MQTT-3.10.3-2]
}

// Unsuback answers UNSUBSCRIBE, section 3.11.
type Unsuback struct{ PacketID uint16 }
