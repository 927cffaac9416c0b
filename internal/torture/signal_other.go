//go:build !unix

package torture

import "errors"

func (p *process) stop(bool) error { return errors.ErrUnsupported }
