package packets

// Suback answers SUBSCRIBE with one code per filter, in the order of the
// filters, section 3.9.
type Suback struct {
	PacketID uint16
	Codes    []SubscribeCode
}

// SubscribeCode is a SUBACK return code: the granted QoS or [SubscribeFailure]
// [MQTT-3.9.3-2].
type SubscribeCode byte

// SubscribeFailure refuses one filter.
const SubscribeFailure SubscribeCode = 0x80
