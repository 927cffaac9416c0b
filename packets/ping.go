package packets

// Pingreq asks for a sign of life, section 3.12.
type Pingreq struct{}

// Pingresp gives it, section 3.13.
type Pingresp struct{}
