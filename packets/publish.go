package packets

// Publish carries an Application Message, section 3.3.
type Publish struct {
	Dup      bool   // may be a re-delivery; false when QoS is 0 [MQTT-3.3.1-2]
	QoS      QoS    // 0, 1 or 2 [MQTT-3.3.1-4]
	Retain   bool   // section 3.3.1.3
	Topic    string // Topic Name: no wildcards [MQTT-3.3.2-2], 1 to 65,535 bytes
	PacketID uint16 // nonzero when QoS > 0 [MQTT-2.3.1-1], otherwise 0 [MQTT-2.3.1-5]
	Payload  []byte // may be empty
}
