package identity

import (
	"crypto/x509"
	"time"
)

// Due is when a certificate is to be renewed: after two thirds of its life, and up
// to a twelfth of it later. How much later is the certificate's own, so that those
// that were issued together are not renewed together, and a restart changes nothing.
func Due(c *x509.Certificate) time.Time {
	life := c.NotAfter.Sub(c.NotBefore)
	spread := int64(0)
	if serial := c.SerialNumber.Bytes(); len(serial) > 0 {
		spread = int64(serial[len(serial)-1])
	}
	return c.NotBefore.Add(life*2/3 + life/12*time.Duration(spread)/256)
}
