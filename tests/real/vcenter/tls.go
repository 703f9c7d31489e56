package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"time"
)

// certificateLife is longer than any test, and too short to rely on.
const certificateLife = 30 * 24 * time.Hour

// authority signs the certificates of one run, as VMCA does for a vCenter and its hosts.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// identity is a server's certificate and how clients can identify it.
type identity struct{ certificate tls.Certificate }

func newAuthority() (*authority, error) {
	ca := template("VMFerry test CA (stand-in for VMCA)")
	ca.IsCA = true
	ca.BasicConstraintsValid = true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	certificate, key, err := issue(ca, nil, nil)
	return &authority{certificate, key}, err
}

// write puts the authority's certificate into a file for clients.
func (a *authority) write(file string) error {
	block := &pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}
	return os.WriteFile(file, pem.EncodeToMemory(block), 0o644)
}

// identify makes a server certificate for host and for this host's loopback names.
func (a *authority) identify(host string) (*identity, error) {
	leaf := template(host)
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf.DNSNames = []string{"localhost"}
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if ip := net.ParseIP(host); ip != nil {
		leaf.IPAddresses = append(leaf.IPAddresses, ip)
	} else {
		leaf.DNSNames = append(leaf.DNSNames, host)
	}
	certificate, key, err := issue(leaf, a.certificate, a.key)
	if err != nil {
		return nil, err
	}
	return &identity{tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key, Leaf: certificate}}, nil
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail on supported systems
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: []string{"vmferry tests"}},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(certificateLife),
	}
}

// issue signs template with a new key; without a parent it signs itself.
func issue(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(raw)
	return certificate, key, err
}

// thumbprint is the SHA-1 of the server certificate in vSphere's notation.
func (id *identity) thumbprint() string {
	sum := sha1.Sum(id.certificate.Certificate[0])
	return colons(sum[:])
}

func (id *identity) thumbprintSHA256() string {
	sum := sha256.Sum256(id.certificate.Certificate[0])
	return colons(sum[:])
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}
