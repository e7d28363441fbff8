package windrow.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.Stores;

/**
 * Bids as JSON, keyed by auction -> count, sum and max of the price for each auction and 10 seconds -> JSON.
 *
 * <p>Arguments: bootstrap, input topic, output topic, application id, state folder, "final" or "current", commit
 * interval in ms, threads. Event time is the record's; grace is 4 s. Runs until it is killed.
 */
public final class Bids {
    private static final Duration WINDOW = Duration.ofSeconds(10);
    private static final Duration GRACE = Duration.ofSeconds(4);
    private static final JsonFactory JSON = new JsonFactory();

    /** Of the seven fields only the price is needed: the key is the auction, the record's time the event's. */
    static final class Price implements Deserializer<Long> {
        @Override
        public Long deserialize(String topic, byte[] data) {
            try (JsonParser parser = JSON.createParser(data)) {
                while (parser.nextToken() != null) {
                    if (parser.currentToken() == JsonToken.FIELD_NAME && "price".equals(parser.currentName())) {
                        parser.nextToken();
                        return parser.getLongValue();
                    }
                }
                throw new IllegalArgumentException("a bid without a price");
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    record Totals(long count, long sum, long max) {
        Totals with(long price) {
            return new Totals(count + 1, sum + price, Math.max(max, price));
        }
    }

    static final Serde<Totals> TOTALS = Serdes.serdeFrom(
        (Serializer<Totals>) (topic, totals) -> totals == null ? null
            : ByteBuffer.allocate(24).putLong(totals.count).putLong(totals.sum).putLong(totals.max).array(),
        (Deserializer<Totals>) (topic, data) -> {
            if (data == null) {
                return null;
            }
            ByteBuffer buffer = ByteBuffer.wrap(data);
            return new Totals(buffer.getLong(), buffer.getLong(), buffer.getLong());
        });

    private Bids() {}

    public static void main(String[] args) {
        String input = args[1];
        String output = args[2];
        boolean last = args[5].equals("final");
        Serde<Long> price = Serdes.serdeFrom(Serdes.Long().serializer(), new Price());

        StreamsBuilder builder = new StreamsBuilder();
        KTable<Windowed<Long>, Totals> totals = builder
            .stream(input, Consumed.with(Serdes.Long(), price))
            .groupByKey(Grouped.with(Serdes.Long(), price))
            .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, GRACE))
            .aggregate(
                () -> new Totals(0, 0, Long.MIN_VALUE),
                (auction, value, so) -> so.with(value),
                Materialized.<Long, Totals>as(
                        Stores.inMemoryWindowStore("totals", Duration.ofMinutes(1), WINDOW, false))
                    .withKeySerde(Serdes.Long())
                    .withValueSerde(TOTALS));
        if (last) {
            totals = totals.suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()));
        }
        totals.toStream()
            .map((window, value) -> KeyValue.pair(window.key(), json(window, value)))
            .to(output, Produced.with(Serdes.Long(), Serdes.ByteArray()));

        KafkaStreams streams = new KafkaStreams(builder.build(), settings(args));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.start();
    }

    private static byte[] json(Windowed<Long> window, Totals totals) {
        return ("{\"auction\":" + window.key() + ",\"window_start\":" + window.window().start()
            + ",\"bids\":" + totals.count + ",\"spent\":" + totals.sum + ",\"top\":" + totals.max + "}")
            .getBytes(StandardCharsets.UTF_8);
    }

    private static Properties settings(String[] args) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, args[6]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[7]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.consumerPrefix("max.poll.records"), 10_000);
        settings.put(StreamsConfig.consumerPrefix("session.timeout.ms"), 6_000);
        settings.put(StreamsConfig.consumerPrefix("max.partition.fetch.bytes"), 8 << 20);
        settings.put(StreamsConfig.producerPrefix("linger.ms"), 20);
        settings.put(StreamsConfig.producerPrefix("batch.size"), 256 << 10);
        return settings;
    }
}
