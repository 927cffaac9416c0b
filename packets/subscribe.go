package packets

// Subscribe asks for messages whose Topic Names match filters, section 3.8.
type Subscribe struct {
	PacketID      uint16
	Subscriptions []Subscription // one at the least [MQTT-3.8.3-3]
}

// Subscription is one Topic Filter and the highest QoS wanted for it.
type Subscription struct {
	Filter string
	QoS    QoS
}
