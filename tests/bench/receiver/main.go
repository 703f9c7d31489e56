// A stand-in for Longhorn's receiver (longhorn/backing-image-manager, pkg/sync/handler.go): one plain GET by
// Go's default client, 4 KiB at a time, zeros become holes. It prints how many bytes came.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
)

const blockSize = 4096

func main() {
	count, err := receive(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.WriteFile(os.Args[3], []byte(fmt.Sprint(count)), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func receive(url, name string) (int64, error) {
	response, err := http.Get(url)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s", response.Status)
	}
	file, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	count, err := sparseCopy(file, response.Body)
	if err != nil {
		return count, err
	}
	if err := file.Truncate(count); err != nil {
		return count, err
	}
	return count, file.Sync()
}

// sparseCopy writes the received bytes and seeks over reads that are all zero; it returns the number of bytes.
func sparseCopy(file *os.File, body io.Reader) (int64, error) {
	buffer, zeros, count := make([]byte, blockSize), make([]byte, blockSize), int64(0)
	for {
		got, err := body.Read(buffer)
		if got > 0 {
			if bytes.Equal(buffer[:got], zeros[:got]) {
				_, err := file.Seek(int64(got), io.SeekCurrent)
				if err != nil {
					return count, err
				}
			} else if _, err := file.Write(buffer[:got]); err != nil {
				return count, err
			}
			count += int64(got)
		}
		if err == io.EOF {
			return count, nil
		}
		if err != nil {
			return count, err
		}
	}
}
