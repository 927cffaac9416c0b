package packets

// Connack answers CONNECT, section 3.2.
type Connack struct {
	SessionPresent bool
	Code           ConnectCode
}

// ConnectCode is a Connect Return code, table 3.1.
type ConnectCode byte

// The Connect Return codes. 6 to 255 are reserved.
const (
	Accepted ConnectCode = iota
	UnacceptableProtocolVersion
	IdentifierRejected
	ServerUnavailable
	BadUserNameOrPassword
	NotAuthorized
)
