package packets

// Disconnect is the last packet of a Client, section 3.14.
type Disconnect struct{}
