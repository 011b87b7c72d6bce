"""Names of owners: a DNS server for the sandboxes of networks, and what it asks upstream.

=============  ====================================================================================================
`directory`    what the server has to be told: who is called what, seen from whom
`message`      RFC 1035 messages, in and out
`names`        the answers that come out of the directory
`forward`      questions to other servers
`cache`        what those answered
`server`       the sockets in the sandboxes, and the order in which all of this is asked
=============  ====================================================================================================

Nothing here knows containers, opens a sandbox or writes a file; `wherry.network.hostfiles` makes resolv.conf.
"""
