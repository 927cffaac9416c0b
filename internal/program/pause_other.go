//go:build !unix

package program

func (p *Program) pause(bool) {
	p.T.Helper()
	p.T.Fatal("a process can be stopped and continued on Unix alone")
}
