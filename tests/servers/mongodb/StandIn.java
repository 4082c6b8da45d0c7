import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.h2.H2Collection;
import de.bwaldvogel.mongo.backend.h2.H2Database;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.h2.mvstore.MVMap;
import org.h2.mvstore.MVStore;

/** Speaks MongoDB's wire protocol over an H2 file: {@code java StandIn FILE PORT}. What it answers is on the disk. */
public final class StandIn extends H2Backend {
    private static final Set<String> READS = Set.of(
        "aggregate", "buildInfo", "count", "distinct", "find", "getMore", "isMaster", "ismaster", "listIndexes", "ping");

    private StandIn(String file) {
        // A commit in the background could meet a document that is only half changed.
        super(new MVStore.Builder().fileName(file).autoCommitDisabled().open());
        version(new MongoVersion() {
            @Override
            public List<Integer> getVersionArray() {
                return List.of(5, 0, 0);
            }

            @Override
            public int getWireVersion() {
                return 13;
            }
        });
    }

    @Override
    public synchronized Document handleMessage(MongoMessage message) {
        // The answer holds the documents themselves, and is sent when the next command may be changing them.
        Document answer = super.handleMessage(message).cloneDeeply();
        if (!READS.contains(message.getDocument().keySet().iterator().next())) {
            commit();
            getMvStore().sync();
        }
        return answer;
    }

    @Override
    protected MongoDatabase openOrCreateDatabase(String name) {
        return new Database(name, getMvStore(), getCursorRegistry());
    }

    private static final class Database extends H2Database {
        private static MVStore opening; // the constructor that it is handed to opens collections already

        Database(String name, MVStore store, CursorRegistry cursors) {
            super(name, opening = store, cursors);
        }

        @Override
        protected H2Collection openOrCreateCollection(String name, CollectionOptions options) {
            MVMap<Object, Document> documents = opening.openMap("databases." + getDatabaseName() + "." + name);
            MVMap<String, Object> sizes = opening.openMap("meta." + getDatabaseName() + "." + name);
            return new H2Collection(this, name, options, documents, sizes, cursorRegistry) {
                @Override
                protected QueryResult matchDocuments(
                        Document query, Document order, int skip, int limit, int batch, Document fields) {
                    if (!(query.get("_id") instanceof String id)) {
                        return super.matchDocuments(query, order, skip, limit, batch, fields);
                    }
                    // Left to itself it reads all documents, unless the query asks for the id and nothing else.
                    Stream<Document> found = Stream.ofNullable(documents.get(id));
                    return matchDocumentsFromStream(found, query, order, skip, limit, batch, fields);
                }
            };
        }
    }

    public static void main(String[] arguments) {
        MongoServer server = new MongoServer(new StandIn(arguments[0]));
        server.bind("127.0.0.1", Integer.parseInt(arguments[1]));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    }
}
