package packets

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
