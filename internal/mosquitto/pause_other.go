//go:build !unix

package mosquitto

func (b *Broker) pause(bool) {
	b.t.Helper()
	b.t.Fatal("a process can be stopped and continued on Unix alone")
}
