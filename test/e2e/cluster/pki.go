package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs the certificates of one cluster, which live as long as a test run may.
type authority struct {
	dir    string
	cert   *x509.Certificate
	key    crypto.Signer
	serial int64
}

const validity = 30 * 24 * time.Hour

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, key: key}
	a.cert = &x509.Certificate{
		SerialNumber: a.next(), Subject: pkix.Name{CommonName: "podroute-e2e"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	return a, a.write("ca", a.cert, key)
}

func (a *authority) next() *big.Int { a.serial++; return big.NewInt(a.serial) }

// server makes NAME.crt and NAME.key for a server of these names.
func (a *authority) server(name string, addresses []string, names []string) error {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, s := range addresses {
		t.IPAddresses = append(t.IPAddresses, net.ParseIP(s))
	}
	return a.issue(name, t)
}

// client makes NAME.crt and NAME.key for a client of that name.
func (a *authority) client(name string, groups ...string) error {
	return a.issue(name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: groups}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (a *authority) issue(name string, t *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t.SerialNumber, t.NotBefore, t.NotAfter = a.next(), a.cert.NotBefore, a.cert.NotAfter
	t.KeyUsage = x509.KeyUsageDigitalSignature
	return a.write(name, t, key)
}

func (a *authority) write(name string, t *x509.Certificate, key crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	if err := a.writePEM(name+".crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return a.writeKey(name, key)
}

func (a *authority) writeKey(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("key %s: %w", name, err)
	}
	return a.writePEM(name+".key", "PRIVATE KEY", der)
}

func (a *authority) writePEM(file, kind string, der []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(a.dir, file), text, 0o600)
}

// makeKeys makes all that the control plane needs.
func makeKeys(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	a, err := newAuthority(dir)
	if err != nil {
		return err
	}
	err = a.server("apiserver", []string{ControlPlane, "127.0.0.1", "::1", "10.96.0.1", "fd00:96::1"}, []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	})
	if err != nil {
		return err
	}
	if err := a.client("kubelet-client", "system:masters"); err != nil {
		return err
	}
	if err := a.client("front-proxy-client"); err != nil {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048) // of service accounts' tokens
	if err != nil {
		return err
	}
	return a.writeKey("sa", key)
}
