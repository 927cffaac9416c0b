// Package capture reads capture files, pcap and pcapng, and puts the TCP connections in them together.
//
// It trusts no length in a file: memory is bounded whatever the file says, and what it cannot use is
// counted in [Skipped] instead of being an error. A file that ends early is read as far as it goes.
//
// The link layers are Ethernet with VLAN tags, the loopback of BSD and OpenBSD, the cooked captures of Linux
// in both versions, and bare IPv4 and IPv6.
package capture
