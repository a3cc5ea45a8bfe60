package identity

import (
	"crypto/tls"
	"fmt"
)

// Files are where one side's certificate, its key, and the authority that it
// trusts lie, all PEM.
type Files struct {
	Certificate string
	Key         string
	CA          string // the authority whose certificates the other side must hold
}

// ClientTLS is the configuration with which an agent or a local authority's
// system calls the centre: TLS 1.3, both sides with a certificate, the other
// side an identity of kind centre under the name or address that was dialled.
// The files are read at once, so that what is wrong with them is said at the
// start; the certificate and key are read again when they change, so that a
// renewed certificate is used without a restart. A changed CA takes effect with
// the next start: the standard verification can not change its roots in use,
// and one of our own would be a worse bargain.
func ClientTLS(files Files, want Kind) (*tls.Config, error) {
	own, err := open(files, want)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    own.last.roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			m, err := own.current()
			return m.certificate, err
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			id, err := Of(state.PeerCertificates[0])
			if err != nil {
				return err
			}
			if id.Kind != Centre {
				return fmt.Errorf("the other side is %s, want one of kind centre", id)
			}
			return nil
		},
	}, nil
}

// ServerTLS is the configuration with which the centre listens: TLS 1.3, and
// only callers with a certificate of the authority in files.CA. All three files
// are read again when they change.
func ServerTLS(files Files) (*tls.Config, error) {
	own, err := open(files, Centre)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m, err := own.current()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion:   tls.VersionTLS13,
				Certificates: []tls.Certificate{*m.certificate},
				ClientAuth:   tls.RequireAndVerifyClientCert,
				ClientCAs:    m.roots,
				NextProtos:   []string{"h2"},
				// Whether a caller may still come in is asked at each handshake.
				SessionTicketsDisabled: true,
			}, nil
		},
	}, nil
}
