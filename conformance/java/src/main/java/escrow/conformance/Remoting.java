package escrow.conformance;

import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.remoting.exception.RemotingTimeoutException;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyRemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** Requests that no client call makes, sent through the client's own remoting layer. */
final class Remoting implements AutoCloseable {
    private final NettyRemotingClient client = new NettyRemotingClient(patient());
    private final String address;

    Remoting(String address) {
        this.address = address;
        client.start();
    }

    // A broker that keeps silent, as Apache does about UNKNOWN, must not cost the connection.
    private static NettyClientConfig patient() {
        NettyClientConfig config = new NettyClientConfig();
        config.setClientCloseSocketIfTimeout(false);
        return config;
    }

    /** The broker's address, as the id of a message that it stored names it. */
    static String address(String offsetMessageId) {
        StringBuilder address = new StringBuilder();
        for (int i = 0; i < 8; i += 2) {
            address.append(i == 0 ? "" : ".").append(Integer.parseInt(offsetMessageId.substring(i, i + 2), 16));
        }
        return address.append(':').append(Integer.parseInt(offsetMessageId.substring(8, 16), 16)).toString();
    }

    static long commitLogOffset(String offsetMessageId) {
        return Long.parseLong(offsetMessageId.substring(16), 16);
    }

    static Map<String, String> fields(Object... pairs) {
        Map<String, String> fields = new HashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            fields.put(pairs[i].toString(), String.valueOf(pairs[i + 1]));
        }
        return fields;
    }

    /** The response, or null if the broker keeps silent for two seconds. */
    RemotingCommand call(int code, Map<String, String> fields, byte[] body) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        fields.forEach(request::addExtField);
        request.setBody(body);
        try {
            return client.invokeSync(address, request, 2000);
        } catch (RemotingTimeoutException e) {
            return null;
        }
    }

    /** The response code, or "no answer". */
    Object code(int code, Map<String, String> fields) throws Exception {
        RemotingCommand response = call(code, fields, null);
        return response == null ? "no answer" : (Object) response.getCode();
    }

    @Override
    public void close() {
        client.shutdown();
    }
}
