"""A DNS server for the sandboxes of networks, which answers names of owners and asks upstream for the rest.

=============  ====================================================================================================
`directory`    the interface through which it looks names up
`message`      RFC 1035 messages, in and out
`names`        answers out of the directory
`forward`      questions to other servers
`cache`        their answers
`reply`        an answer without the client's part
`responder`    from a message to its answer
`connection`   messages over TCP
`server`       the sockets in the sandboxes
=============  ====================================================================================================

Nothing here knows containers, opens a sandbox or writes a file; `wherry.network.etc_files` makes resolv.conf.

`message` is our own, not a library. Measured with Python 3.11: a query takes 1.4 microseconds (dnslib 8.4, dnspython
12.9), a response 6 (33, 94); to import it takes 12 ms and 2.8 MB (20 and 3.9; 50 and 13.7). Tests check it with dnslib.
"""
